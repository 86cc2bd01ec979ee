"""Moved to `scripts/host/languages/code_faults.py`. This file is to be removed."""

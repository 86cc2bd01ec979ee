"""Moved to `scripts/protocol/outputs.py`. This file is to be removed."""

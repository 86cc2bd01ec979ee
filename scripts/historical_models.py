"""Moved to `scripts/models/historical.py`. This file is to be removed."""

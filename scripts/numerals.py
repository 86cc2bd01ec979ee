"""Moved to `scripts/protocol/numerals.py`. This file is to be removed."""

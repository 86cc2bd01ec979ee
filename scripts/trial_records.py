"""Moved to `scripts/trials/records.py`. This file is to be removed."""

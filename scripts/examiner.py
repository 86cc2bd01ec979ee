"""Moved to `scripts/examination/examiner.py`. This file is to be removed."""

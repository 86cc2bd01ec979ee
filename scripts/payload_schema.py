"""Moved to `scripts/examination/payload_schema.py`. This file is to be removed."""

"""Moved to `scripts/protocol/schema_size.py`. This file is to be removed."""

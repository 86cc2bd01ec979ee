"""Moved to `scripts/protocol/json_layout.py`. This file is to be removed."""

"""Moved to `scripts/protocol/json_text.py`. This file is to be removed."""

"""Moved to `scripts/protocol/strict_json.py`. This file is to be removed."""

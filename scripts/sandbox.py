"""Moved to `scripts/pool/sandbox_probe.py`. This file is to be removed."""

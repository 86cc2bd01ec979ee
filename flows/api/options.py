"""How a body's unknown options are refused."""

from __future__ import annotations

from collections.abc import Sequence

NEWEST_SCRIPT = 'the newest version of the script is taken with "newestScript": true'


def unknown_option(name: str, known: Sequence[str]) -> str:
    """Return what is wrong with an option, and which one may be meant."""
    is_version = any(word in name.lower() for word in ("script", "version", "newest", "latest"))
    if is_version and "newestScript" in known:
        return f"unknown; {NEWEST_SCRIPT}"
    return f"unknown; known are {', '.join(known)}"

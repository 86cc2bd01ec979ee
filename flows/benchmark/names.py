"""The names of what a benchmark makes. They tell which process has made it.

One that was killed has removed nothing; the next one knows by the names what that has left.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets

from flows.processes import is_alive, this_machine

BEGINNING = "bench-"
# Those of before have no machine and no process.
_NAME = re.compile(r"bench-(?:(?P<machine>[0-9a-f]{8})-(?P<pid>[0-9]+)-)?[0-9a-f]{8}")


def new_name() -> str:
    return f"{BEGINNING}{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"


def new_prefix() -> str:
    """Return the beginning of the names of tables."""
    return new_name().replace("-", "_")


def name_in(text: str) -> str | None:
    """Return the name that the name of a queue, a script or a table begins with."""
    found = _NAME.match(text.replace("_", "-"))
    rest = text[found.end() :] if found else ""
    return found[0] if found and (not rest or rest[0] in "-_") else None


def is_left(name: str, *, anywhere: bool = False) -> bool:
    """Say whether a process of this machine has made it that is no more.

    `anywhere`: or one of another machine, or that is not known.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return False
    if found["machine"] != _machine():
        return anywhere
    return not is_alive(int(found["pid"]))


def _machine() -> str:
    return hashlib.sha256(this_machine().encode()).hexdigest()[:8]

"""Finds what JavaScript code reads of `context` and `context` does not have.

A misspelt name would be `undefined`, and then left out of the output without a word.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

MEMBERS = (
    "Data", "attempt", "cached", "config", "correlationId", "correlation_id", "deliveryId",
    "delivery_id", "finish", "flow", "go", "http", "jwt", "log", "progress", "queue", "secrets",
    "sign", "start", "state", "step", "table", "verify", "verifyJwt", "verify_jwt", "waitState",
    "waitedSeconds", "waits",
)  # fmt: skip
# Of every object.
_INHERITED = (
    "__proto__", "constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable",
    "toLocaleString", "toString", "valueOf",
)  # fmt: skip
_READ = re.compile(r"(?<![\w$.])context\s*\??\.\s*([A-Za-z_$][\w$]*)")
# Code that asks whether a member is there, or puts it there.
_ASKED = (
    r"(?:typeof\s*\(?|!|\bif\s*\()\s*context\s*\??\.\s*{0}\b(?!\s*[.([])"
    r"|\bcontext\s*\??\.\s*{0}\s*(?:\?|\|\||&&|[!=]==?|=(?![=>]))"
    r"|['\"]{0}['\"]\s*(?:in\b|\])|\bhasOwn\w*\([^;\n]*['\"]{0}['\"]"
)


def missing_members(code: str) -> dict[str, str]:
    """Return the names of the members, each with a hint."""
    found = dict.fromkeys(_READ.findall(code))
    return {
        name: _hint(name)
        for name in found
        if name not in MEMBERS and name not in _INHERITED and not _is_asked_for(name, code)
    }


def _is_asked_for(name: str, code: str) -> bool:
    return re.search(_ASKED.format(re.escape(name)), code) is not None


def _hint(name: str) -> str:
    lower = {each.lower().replace("_", ""): each for each in reversed(MEMBERS)}
    near = get_close_matches(name.lower().replace("_", ""), lower, 1, 0.7)
    return f": do you mean {lower[near[0]]}?" if near else ""

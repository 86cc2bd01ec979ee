"""The `format` of JSON Schemas: which are checked, and which are for readers alone."""

import re
from difflib import get_close_matches
from typing import Any

# Checked by the compiler of schemas, in its newest draft.
CHECKED = (
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "idn-email",
    "idn-hostname",
    "ipv4",
    "ipv6",
    "iri",
    "iri-reference",
    "json-pointer",
    "regex",
    "relative-json-pointer",
    "time",
    "uri",
    "uri-reference",
    "uri-template",
    "uuid",
)
# Those of OpenAPI, which say how a value is kept or shown.
FOR_READERS = ("binary", "byte", "double", "float", "int32", "int64", "password")

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DURATION = re.compile(
    r"P(?!$)(\d+W|(\d+Y(\d+M(\d+D)?)?|\d+M(\d+D)?|\d+D)?"
    r"(T(?=\d)(\d+H(\d+M(\d+S)?)?|\d+M(\d+S)?|\d+S))?)",
    re.ASCII,
)
_UNKNOWN = re.compile(r"Unknown format: '(.*)'\. Adjust configuration.*", re.DOTALL)


def options(text: str) -> dict[str, Any]:
    """Return the options with which the compiler of schemas checks formats."""
    # Only a schema that says so has an older draft, in which these two are unknown.
    added = {"uuid": _is_uuid, "duration": _is_duration} if '"$schema"' in text else None
    return {"validate_formats": True, "formats": added}


def strict_options(text: str) -> dict[str, Any]:
    """Return the options with which an unknown format is an error."""
    formats = dict.fromkeys(FOR_READERS, _is_anything) | (options(text)["formats"] or {})
    return {"validate_formats": True, "formats": formats, "ignore_unknown_formats": False}


def explained(message: str) -> str:
    """Return the compiler's message for an unknown format in words for an author."""
    if not (unknown := _UNKNOWN.fullmatch(message)):
        return message
    near = get_close_matches(unknown[1][:100], CHECKED, 1)
    hint = f"do you mean {near[0]!r}?" if near else f"there are {', '.join(CHECKED)}"
    return f"the format {unknown[1][:100]!r} is not known; {hint}"


def _is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def _is_duration(text: str) -> bool:
    return _DURATION.fullmatch(text) is not None


def _is_anything(text: str) -> bool:
    return True

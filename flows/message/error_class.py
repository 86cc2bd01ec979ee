"""The class of an error: the line that names it, without what differs from message to message."""

from __future__ import annotations

import re

LONGEST = 200
# Of a text that is longer, the end names the error.
LONGEST_READ = 20_000

TRACEBACK = "Traceback (most recent call last):"
# In this order: what is found first is not looked into again.
PLACEHOLDERS = (
    ("<url>", r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>)\]]+"),
    # No character fits in two ways: a text that was cut and has escapes would take for ever.
    ("<text>", r"(?<!\w)(?P<quote>['\"`])(?:\\.|(?!(?P=quote))[^\\])*+(?P=quote)(?!\w)"),
    ("<text>", r"[\w.+-]+@[\w-]+\.[\w.-]+"),
    ("<id>", r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"),
    ("<time>", r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"),
    ("<id>", r"\b0x[0-9a-fA-F]+\b"),
    ("<id>", r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}\b"),
    ("<number>", r"(?<![\w.])[-+]?\d[\d_]*(?:[.,]\d+)*(?:[eE][-+]?\d+)?"),
    ("<number>", r"\d{3,}"),
)
_PATTERNS = re.compile("|".join(f"(?P<p{n}>{each})" for n, (_, each) in enumerate(PLACEHOLDERS)))


def naming_line(error: str) -> str:
    """Return the line that names the error: of a traceback the one after its last frame."""
    text = error[-LONGEST_READ:].strip()
    lines = [line for line in text.splitlines() if line.strip()]
    if TRACEBACK not in text:
        return lines[0].strip() if lines else ""
    begun = [at for at, line in enumerate(lines) if line.strip().endswith(TRACEBACK)]
    # One that is quoted within a line is no traceback.
    last = max(begun, default=-1)
    after = [line for line in lines[last + 1 :] if not line[0].isspace()]
    return (after or lines)[0].strip()


def error_class_of(error: str) -> str:
    """Return the class: errors that differ in numbers, ids and quoted texts alone have the same.

    "" is that of an error without text.
    """
    line = naming_line(error)[: 10 * LONGEST]
    return _PATTERNS.sub(_placeholder, line)[:LONGEST]


def _placeholder(found: re.Match[str]) -> str:
    groups = found.groupdict()
    return next(
        word for number, (word, _) in enumerate(PLACEHOLDERS) if groups[f"p{number}"] is not None
    )

"""Keeps secrets out of what is told about a script: logs, errors, warnings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from scripts.envelope import plain_text

MASK = "***"
# Shorter values would be found in the midst of ordinary words.
MIN_LENGTH = 4
# Where a text was cut; see ``plain_text``.
_CUT = "…"
_MAX_CUTS = 20


class Mask:
    """The secrets that a host was given, as they may appear in its texts."""

    def __init__(self) -> None:
        self._forms: list[str] = []
        self._pattern = re.compile("(?!)")

    def add(self, value: str) -> None:
        forms = {*self._forms, *_forms(value)}
        if len(forms) > len(self._forms):
            # The longest first: a secret may be a part of another.
            self._forms = sorted(forms, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, self._forms)))

    def clean(self, text: str, length: int) -> str:
        """Do what ``plain_text`` does, without the secrets."""
        text = self._pattern.sub(MASK, text)
        if _CUT in text:
            text = self._without_beginnings(text)
        return plain_text(text, length)

    def _without_beginnings(self, text: str) -> str:
        """Mask what is left of secrets where the host has cut its text."""
        cuts = [found.start() for found in re.finditer(_CUT, text)]
        for cut in reversed(cuts[-_MAX_CUTS:]):
            starts = [_begins_at(form, text, cut) for form in self._forms]
            start = min((start for start in starts if start >= 0), default=cut)
            if start < cut:
                text = text[:start] + MASK + text[cut:]
        return text


def _forms(value: str) -> Iterator[str]:
    """Yield a value as it is, and as JSON, URLs, tracebacks and line by line output have it."""
    for part in {value, *value.splitlines()}:
        if len(part) < MIN_LENGTH:
            continue
        yield part
        yield json.dumps(part)[1:-1]
        yield json.dumps(part, ensure_ascii=False)[1:-1]
        yield repr(part)[1:-1]
        yield quote(part)
        yield quote(part, safe="")
        yield quote_plus(part)


def _begins_at(form: str, text: str, end: int) -> int:
    """Return where the text up to ``end`` ends with the beginning of a form, -1 if it does not."""
    start = text.find(form[:MIN_LENGTH], max(0, end - len(form)), end)
    while start >= 0 and not form.startswith(text[start:end]):
        start = text.find(form[:MIN_LENGTH], start + 1, end)
    return start

"""Masks secrets in the texts of a script: logs, errors, warnings."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus

from scripts.protocol.envelope import plain_text

MASK = "***"
# Shorter values would also match parts of ordinary words.
MIN_LENGTH = 4
# Where a text was cut; see `plain_text`.
_CUT = "…"
_MAX_CUTS = 20
_ESCAPE = re.compile("%[0-9A-F]{2}")


class Mask:
    """The secrets that a script may read, in the forms in which texts may show them."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._forms: list[str] = []
        for value in values:
            self.add(value)

    def add(self, value: str) -> None:
        """Mask another secret, too."""
        # The longest first: a secret may be a part of another.
        self._forms = sorted({*self._forms, *_forms(value)}, key=len, reverse=True)

    def clean(self, text: str, length: int) -> str:
        """Do what `plain_text` does, without the secrets."""
        # A value of many lines has hundreds of forms, and few texts have any of them.
        if found := [form for form in self._forms if form in text]:
            text = re.sub("|".join(map(re.escape, found)), MASK, text)
        if _CUT in text:
            text = self._without_beginnings(text)
        return plain_text(text, length)

    def _without_beginnings(self, text: str) -> str:
        """Mask the rest of a secret where the host has cut the text."""
        cuts = [found.start() for found in re.finditer(_CUT, text)]
        for cut in reversed(cuts[-_MAX_CUTS:]):
            starts = [_begins_at(form, text, cut) for form in self._forms]
            start = min((start for start in starts if start >= 0), default=cut)
            if start < cut:
                text = text[:start] + MASK + text[cut:]
        return text


@lru_cache(maxsize=16)
def mask_of(values: tuple[str, ...]) -> Mask:
    """Return the mask of these values. It is shared; do not add values to it."""
    return Mask(values)


def _forms(value: str) -> Iterator[str]:
    """Yield a value as it is, and as it appears in JSON, URLs, tracebacks and single lines."""
    for part in {value, *value.splitlines()}:
        if len(part) < MIN_LENGTH:
            continue
        yield part
        yield json.dumps(part)[1:-1]
        yield json.dumps(part, ensure_ascii=False)[1:-1]
        yield repr(part)[1:-1]
        yield from _url_forms(part)
        yield from _encoded_forms(part.encode("utf-8", "surrogatepass"))


def _url_forms(value: str) -> Iterator[str]:
    raw = value.encode("utf-8", "surrogatepass")
    every = "".join(f"%{byte:02X}" for byte in raw)
    for form in (quote(raw), quote(raw, safe=""), quote_plus(raw), every):
        yield form
        yield _ESCAPE.sub(lambda found: found[0].lower(), form)


def _encoded_forms(raw: bytes) -> Iterator[str]:
    """Yield it in hexadecimal digits and in base64, also as a part of something longer."""
    yield raw.hex()
    yield raw.hex().upper()
    for before in range(3):
        encoded = b64encode(bytes(before) + raw).decode()
        # Only the characters that hold bits of the value alone, for each possible start.
        inside = encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        if len(inside) >= MIN_LENGTH:
            yield inside
            yield inside.replace("+", "-").replace("/", "_")


def _begins_at(form: str, text: str, end: int) -> int:
    """Return where the text up to `end` ends with the beginning of a form, -1 if it does not."""
    start = text.find(form[:MIN_LENGTH], max(0, end - len(form)), end)
    while start >= 0 and not form.startswith(text[start:end]):
        start = text.find(form[:MIN_LENGTH], start + 1, end)
    return start

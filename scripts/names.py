"""Checks names: one rule for the admin and the configuration document."""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import normalize
from urllib.parse import quote

from django.core.exceptions import ValidationError
from django.db.models import Model

# As a class of a regular expression.
CONTROL = r"\x00-\x1f\x7f-\x9f"
CONTROL_CHARACTERS = frozenset(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))

# They turn the text around a name round, or are not seen: Unicode's Bidi_Control, and blanks of no
# width.
HIDDEN_CHARACTERS = frozenset(
    map(chr, [0x61C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060])
) | frozenset(map(chr, [*range(0x2066, 0x206A), 0xFEFF]))


def name_fault(name: str) -> str | None:
    """Return the fault of a name, None where there is none."""
    if not name.strip() or CONTROL_CHARACTERS & set(name):
        return "must not be blank or contain control characters"
    if found := sorted(HIDDEN_CHARACTERS & set(name)):
        named = ", ".join(f"U+{ord(each):04X}" for each in found)
        return f"must not contain characters that are not seen or turn the text round: {named}"
    return None


def address_fault(name: str) -> str | None:
    """Return the fault of a name that is a part of addresses, as for flows and queues.

    Clients and proxies resolve dots, merge slashes and cut blanks off.
    """
    if name.strip() and name != name.strip():
        return "must not begin or end with a blank"
    if "/" in name:
        return "must not contain a slash, because it is one part of an address"
    if name and set(name) == {"."}:
        return "must not consist of dots"
    return name_fault(name)


def address_note(name: str) -> str:
    """Return a note for a name that callers cannot write into an address as it is; or nothing."""
    written = quote(name, safe="")
    return "" if written == name else f"In addresses the name {name!r} has to be written {written}."


def twin_note(name: str, others: Iterable[str]) -> str:
    """Return a note for a name that another one is nearly; or nothing."""
    plain = _plain(name)
    twins = sorted(other for other in others if _plain(other) == plain)
    if not twins:
        return ""
    listed = ", ".join(map(repr, twins[:5]))
    return f"{listed} has nearly the same name as {name!r}: they are easily confused."


def _plain(name: str) -> str:
    """Return the same for names that differ in case, width and blanks alone."""
    return "".join(normalize("NFKC", name).casefold().split())


def require_name(model: Model, *, in_addresses: bool = False, may_be_star: bool = False) -> None:
    """Raise ValidationError where the model's name is new and wrong. A stored name may stay."""
    name: str = model.name  # type: ignore[attr-defined]
    fault = address_fault(name) if in_addresses else name_fault(name)
    if in_addresses and name == "*" and not may_be_star:
        fault = 'must not be "*": it means every flow'
    stored = type(model)._default_manager.filter(pk=model.pk, name=name)
    if fault and not (model.pk and stored.exists()):
        raise ValidationError({"name": f"The name {fault}."})

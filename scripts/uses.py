"""Where scripts are used. For other apps to say: they add a source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scripts.models import Script


@dataclass(frozen=True, slots=True)
class Use:
    """Something that uses a script, and the address of its page."""

    text: str
    url: str


sources: list[Callable[[Script], Iterable[Use]]] = []


def uses_of(script: Script) -> list[Use]:
    return [use for source in sources for use in source(script)]

"""Where scripts are used. For other apps to say: they add a source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from scripts.models import Script


@dataclass(frozen=True, slots=True)
class Use:
    """Something that uses a script, and the address of its page, "" where there is none to see."""

    text: str
    url: str


# A script and the user who asks.
sources: list[Callable[[Script, Any], Iterable[Use]]] = []


def uses_of(script: Script, user: Any) -> list[Use]:
    return [use for source in sources for use in source(script, user)]

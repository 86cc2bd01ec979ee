from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.configuration.faults import inside


@dataclass(frozen=True, slots=True)
class Entry:
    """A completed entry of the document with its place, for what is found out about it later.

    `keys` has what the original product calls a key, `parts` the steps of a flow.
    """

    place: str
    values: dict[str, Any]
    keys: Mapping[str, str] = field(default_factory=dict)
    parts: list[Entry] = field(default_factory=list)
    makes_queue: bool = False

    def at(self, key: str) -> str:
        key = self.keys.get(key, key)
        return inside(self.place, key) if key else self.place

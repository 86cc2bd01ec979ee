"""One entry of the document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.configuration.faults import inside

# The sections of the document by the kind of their entries.
SECTIONS = {
    "library": "libraries",
    "script": "scripts",
    "queue": "queues",
    "flow": "flows",
    "role": "rbac",
    "alert target": "alertTargets",
    "alert thresholds": "alertThresholds",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A completed entry of the document with its place, which the faults found in it name.

    `keys` maps a key to its name in the original product. `steps` are the steps of a flow. A step
    with `makes_queue` is of the original product: an import makes its queue if there is none.
    """

    place: str
    values: dict[str, Any]
    keys: Mapping[str, str] = field(default_factory=dict)
    steps: list[Entry] = field(default_factory=list)
    makes_queue: bool = False

    def at(self, key: str) -> str:
        key = self.keys.get(key, key)
        return inside(self.place, key) if key else self.place

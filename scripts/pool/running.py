"""A call that runs, as others may see it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from scripts.protocol.calls import Call


@dataclass(frozen=True, slots=True)
class RunningCall:
    """A call that runs since this epoch second, what it has said so far and how far it is."""

    call: Call
    started_at: float
    logs: list[dict[str, Any]]
    progress: dict[str, Any] | None = None


def epoch_of(began_at: float) -> float:
    """Return the epoch second of a time by the monotonic clock, 0 where it cannot be meant."""
    clock = time.monotonic()
    return time.time() - (clock - began_at) if 0 < began_at <= clock else 0.0

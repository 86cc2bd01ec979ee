"""How a script waits with a message, as the message keeps it.

A line of JSON, and the state as the script has left it in the lines after that. It stays with the
message when that goes on: the line says for which step it counts.
"""

from __future__ import annotations

from typing import Any

import orjson

from scripts.protocol.calls import Waits


def waits_at(waiting: str, step_id: int) -> Waits | None:
    """Read what a message keeps; None: the script of this step has not waited with it."""
    line, _, state = waiting.partition("\n")
    found: dict[str, Any] = orjson.loads(line)
    if found["step"] != step_id:
        return None
    return Waits(found["times"], found["since"], state)


def waiting_again(before: Waits | None, step_id: int, now: float, state: str, reason: str) -> str:
    """Return what a message keeps whose script waits once more."""
    kept = {
        "step": step_id,
        "times": before.times + 1 if before else 1,
        "since": before.since if before else now,
        "reason": reason,
    }
    return f"{orjson.dumps(kept).decode()}\n{state}"


def reason_of(waiting: str) -> tuple[int, str]:
    """Return how often a script has waited with a message, and why it waits now."""
    found = orjson.loads(waiting.partition("\n")[0])
    return found["times"], found["reason"]

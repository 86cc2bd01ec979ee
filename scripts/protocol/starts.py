"""What a script asks for with `context.start`, and why it is refused."""

from __future__ import annotations

from collections.abc import Sequence

# The runs that one message may start, and the bytes of all their payloads.
MAX_STARTS = 100
MAX_START_BYTES = 8 * 1024 * 1024
# How many runs may be above a run, each started by the next one above.
MAX_DEPTH_OF_STARTS = 20
# The kinds of refusals: one that no repetition heals, and one that may pass.
REFUSED, UNAVAILABLE = "start-refused", "start-unavailable"
_MOST_SHOWN = 10


class StartRefused(ValueError):
    """The run cannot be started. `kind` is one word that programs can compare."""

    def __init__(self, message: str, kind: str = REFUSED) -> None:
        super().__init__(message)
        self.kind = kind


def start_not_allowed(flow: object, allowed: Sequence[str]) -> str:
    """Return why a flow may not be started, with those that may be."""
    names = [repr(name) for name in allowed[:_MOST_SHOWN]] + ["…"] * (len(allowed) > _MOST_SHOWN)
    may = f"may start {', '.join(names)}" if names else "may start none"
    return f"context.start({str(flow)[:100]!r}): this flow {may}; its 'may start' lists them."

"""The steps that a script may go to with `context.go`."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.protocol.errors import Lasting

_MOST_SHOWN = 10


class StepNotAllowed(Lasting, ValueError):
    """The script may not go to this step."""


def required_step(name: object, steps: Sequence[str] | None) -> str:
    """Return the name of a step that the script may go to. Raises StepNotAllowed.

    Without `steps`, where a script is tried outside of a flow, it may be any name.
    """
    if type(name) is str and (name in steps if steps is not None else 0 < len(name) <= 100):
        return name
    raise StepNotAllowed(f"context.go({_shown(name)}): {allowed(steps)}")


def allowed(steps: Sequence[str] | None) -> str:
    """Return in words where the script may go."""
    if steps is None:
        return "it takes the name of a step."
    if not steps:
        return "its step is the last, so it may go to none."
    names = [repr(step) for step in steps[:_MOST_SHOWN]]
    if len(steps) > _MOST_SHOWN:
        names.append("…")
    return f"it may go to {', '.join(names)}: to the next step, and those in 'goes to' of its step."


def _shown(name: object) -> str:
    try:
        return repr(name)[:100]
    except Exception:
        # An object of the script, which may do anything.
        return "…"

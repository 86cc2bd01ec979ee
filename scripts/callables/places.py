"""Where a callable was when its time was up."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType

from scripts.protocol.errors import ScriptTimedOut, place
from scripts.protocol.wire import MAX_TEXT_LENGTH

_MAX_FRAMES = 30


def stack_of(thread: int) -> traceback.StackSummary:
    """Return the stack of a thread now, the innermost frame last, without reading any file."""
    frame = sys._current_frames().get(thread)
    frames = [] if frame is None else reversed(list(traceback.walk_stack(frame)))
    return traceback.StackSummary.extract(iter(frames), lookup_lines=False)


def timed_out(
    seconds: float,
    stack: traceback.StackSummary | None,
    called_by: CodeType,
    clean: Callable[[str, int], str],
) -> ScriptTimedOut:
    """Return the error of a callable that was ended, by its stack at that moment.

    Its own frames are those behind that of the function which calls it.
    """
    frames = list(stack or ())
    ours = [
        number
        for number, each in enumerate(frames)
        if each.filename == called_by.co_filename and each.name == called_by.co_name
    ]
    own = frames[ours[-1] + 1 :] if ours else []
    if not own:
        return ScriptTimedOut(limit_seconds=seconds)
    # Libraries that it has called say less than its own line.
    inner = next(each for each in reversed(own) if each.filename == own[0].filename)
    where = place(Path(inner.filename).name, inner.lineno or 0, inner.name)
    lines = "".join(traceback.StackSummary.from_list(own[-_MAX_FRAMES:]).format())
    told = f"Traceback (most recent call last):\n{lines}"
    return ScriptTimedOut(
        limit_seconds=seconds,
        where=where,
        traceback=clean(told[-MAX_TEXT_LENGTH:], MAX_TEXT_LENGTH),
    )

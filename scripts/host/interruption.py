"""How a host tells where its script is when the time limit is over.

The worker has the zygote send a signal. In Python `faulthandler` then writes the stack into the
pipe, from C code, even if the script never gets back to the interpreter. JavaScript is interrupted
by its engine, which asks `is_interrupted` now and then.
"""

from __future__ import annotations

import faulthandler
import signal
from types import FrameType

from scripts.protocol.wire import INTERRUPT, TELL


class Interrupted(BaseException):
    """Raised in a host that waits for a reply when the time of its script is over."""


class _State:
    is_interrupted = False
    # Whether the host waits for a reply, in which case nothing else would notice.
    waits = False


state = _State()


def prepare(channel: int) -> None:
    """Make this process answer the signals. Called before the sandbox closes."""
    faulthandler.register(TELL, file=channel, all_threads=False, chain=False)
    signal.signal(INTERRUPT, _interrupt)


def is_interrupted() -> bool:
    """Whether the time of the running script is over."""
    return state.is_interrupted


def _interrupt(number: int, frame: FrameType | None) -> None:
    state.is_interrupted = True
    if state.waits:
        raise Interrupted

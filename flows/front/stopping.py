"""Learn that the web server stops, which an ASGI server without a lifespan does not tell."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress


def call_at_stop(stop: Callable[[], None]) -> None:
    """Call `stop` when a worker of granian is told to end; it waits for its answers after that.

    granian ends at SIGTERM, which its main process sends, and at SIGINT alike. The first is taken
    over here and passed on as the second.
    """
    if "granian" not in sys.modules:
        return

    def pass_on() -> None:
        stop()
        os.kill(os.getpid(), signal.SIGINT)

    # Not in another thread than the main one, and not where the loop knows no signals.
    with suppress(ValueError, RuntimeError, NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, pass_on)

"""The memory that a worker shares with one of its hosts, as the worker sees it.

The pipe brings what a host has done. This page shows what the host is doing: which call it runs and
since when, and the answers that it has not sent yet. A script can reach the page by tricks and
write anything into it. The layout is in `wire.py`, the host's side in `host.py`.
"""

import fcntl
import mmap
import os
import tempfile
import time
from typing import Any

from scripts.pool.page_log import log_lines
from scripts.protocol import wire
from scripts.protocol.progress import Progress, progress_of


class SharedPage:
    def __init__(self) -> None:
        self.descriptor = _new_memory()
        self._bytes = memoryview(mmap.mmap(self.descriptor, wire.SHARED_BYTES))
        self._times = self._bytes.cast("d")
        self._numbers = self._bytes.cast("Q")

    @property
    def running(self) -> int:
        """The number of the call that runs, 0 between calls."""
        return self._numbers[wire.BEGUN] if self._times[wire.BEGAN] else 0

    @property
    def is_writing(self) -> bool:
        """Whether the script of the running call has returned."""
        return self._numbers[wire.WRITTEN] == self._numbers[wire.BEGUN]

    @property
    def begun(self) -> int:
        """The number of the last call that was begun."""
        return self._numbers[wire.BEGUN]

    @property
    def began_at(self) -> float:
        """When the running call began, by the monotonic clock; 0 between calls."""
        return self._times[wire.BEGAN]

    def recall(self, number: int) -> None:
        """Have the host skip the calls up to this number that it has not begun."""
        self._numbers[wire.RECALLED] = number
        # The host marks a call as begun before it checks whether the call is recalled. The pause
        # gives the mark the time to become visible here.
        time.sleep(0.0002)

    def unsent(self, *, is_dead: bool) -> bytes:
        """Return the answers that a hanging or dead host has left here; none between calls."""
        began_at = self.began_at
        if not began_at and not is_dead:
            return b""
        size = min(self._numbers[wire.UNSENT], wire.MAX_UNSENT_BYTES)
        data = bytes(self._bytes[wire.UNSENT_AT : wire.UNSENT_AT + size])
        # If the times differ, the host goes on: it may have sent these answers and written others
        # in their place meanwhile.
        return data if began_at == self.began_at else b""

    def log_of(self, number: int) -> list[dict[str, Any]]:
        """Return what a call has said so far, as it is there, if it is the last that said a word.

        The texts may hold secrets.
        """
        return log_lines(self._bytes, number)

    def progress_of(self, number: int) -> Progress | None:
        """Return how far a call says that it is, if it is the last that said so."""
        return progress_of(self._bytes, number)

    def close_descriptor(self) -> None:
        """Close the descriptor once the host has it; this process needs it no more."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _new_memory() -> int:
    """Make memory to share with a host, which cannot shrink it."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            file.truncate(wire.SHARED_BYTES)
            return os.dup(file.fileno())
    memory = os.memfd_create("script-host", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, wire.SHARED_BYTES)
    fcntl.fcntl(
        memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    )
    return memory

"""Wakes a thread or process that waits for descriptors: a "self-pipe"."""

import contextlib
import socket


class Waker:
    """Is readable, for `select` and its like, once a thread, process or signal has woken it."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def signal_fileno(self) -> int:
        """Return the descriptor for `signal.set_wakeup_fd`."""
        return self._writer.fileno()

    def wake(self) -> None:
        # A full pipe has not been read for long: it is still readable.
        with contextlib.suppress(BlockingIOError):
            self._writer.send(b"\0")

    def clear(self) -> None:
        """Be readable no more, until it is woken again."""
        with contextlib.suppress(BlockingIOError):
            while len(self._reader.recv(4096)) == 4096:
                pass

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

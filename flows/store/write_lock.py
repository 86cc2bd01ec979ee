"""The lock of SQLite's writers. A writer that is stopped may not keep it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection

from flows.store.clock import in_memory

# Of the file that SQLite's processes share: the byte whose lock is the right to write, see
# "WAL-Index Format" in its documentation.
WRITE_LOCK_BYTE = "120"


class WriteLock(threading.local):
    """A lock on a file beside the database, for one writer. The kernel frees it when that dies."""

    file: LockFile | None = None
    path = ""

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold the lock; wait until it is free. Without a file there is none."""
        if (path := str(connection.settings_dict["NAME"])) != self.path:
            self._open(path)
        if self.file is None:
            yield
            return
        fcntl.flock(self.file.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Those that watch the file learn that the transaction has ended, see `FileWrites`.
            with contextlib.suppress(OSError):
                os.pwrite(self.file.descriptor, b"\n", 0)
            fcntl.flock(self.file.descriptor, fcntl.LOCK_UN)

    def _open(self, path: str) -> None:
        """Open the file anew: threads and processes that share a descriptor share its lock."""
        self.file = None if in_memory(path) else LockFile(f"{path}-turn")
        self.path = path


class LockFile:
    """A file to be locked, closed with the thread that has opened it."""

    descriptor = -1

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # At the end of the interpreter the module's names may be gone before this is.
        if self.descriptor >= 0:
            close(self.descriptor)


write_lock = WriteLock()
os.register_at_fork(after_in_child=lambda: setattr(write_lock, "path", ""))


def writers(path: str) -> set[int]:
    """Return the processes that have the lock or are writing; none where the kernel tells none."""
    queue, shared = Path(f"{path}-turn"), Path(f"{path}-shm")
    holders = (lock_holders("FLOCK", queue), lock_holders("POSIX", shared, WRITE_LOCK_BYTE))
    return {*holders[0], *holders[1]}


def lock_holders(kind: str, file: Path, first_byte: str = "0") -> Iterator[int]:
    """Yield the processes that hold a lock on a file.

    A process that waits for one has a line, too, with an arrow first.
    """
    with contextlib.suppress(OSError):
        inode = f":{file.stat().st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            _, its_kind, *_, pid, its_inode, its_first_byte, _ = line.split()
            is_alike = its_kind == kind and its_first_byte == first_byte
            if is_alike and its_inode.endswith(inode) and has_open(int(pid), file):
                yield int(pid)


def has_open(pid: int, file: Path) -> bool:
    """Tell the file from one of another disk with the same number."""
    with contextlib.suppress(OSError):
        descriptors = Path(f"/proc/{pid}/fd").iterdir()
        return any(each.exists() and each.samefile(file) for each in descriptors)
    return False

"""The files of tables on this machine: made once, checked, and shared by its processes."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import stat
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from scripts.tables.building import build, is_whole
from scripts.tables.reading import Rows

# The layout of the files: another one gets other names.
_LAYOUT = "1"
# A file that no worker has opened for so long is deleted.
_UNUSED_SECONDS = 7 * 24 * 3600


class OpenTable:
    """An open file of a table. It is closed when nothing uses it any more."""

    def __init__(self, file: BinaryIO) -> None:
        """Take a descriptor of its own, whatever becomes of the file.

        Raises ValueError unless the file is open for reading alone: a script could make the memory
        of another one writable, and change the table for all.
        """
        if fcntl.fcntl(file.fileno(), fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
            raise ValueError("the file of a table must be open for reading alone")
        self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def fileno(self) -> int:
        return self._descriptor


def mapped(file: OpenTable) -> mmap.mmap:
    """Map a file in this process."""
    return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


def made_apart(rows: Rows) -> OpenTable:
    """Make a file that no other process shares, and that is gone when it is closed."""
    with tempfile.NamedTemporaryFile() as made:
        build(rows, cast(BinaryIO, made))
        with Path(made.name).open("rb") as file:
            return OpenTable(file)


class Draft(NamedTuple):
    """A file that is being made, open for reading and writing."""

    file: BinaryIO
    path: Path


class TableDirectory:
    """A directory that this user alone can enter."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def open(self, identity: str) -> OpenTable | None:
        """Return the finished file of a table's content, None where this machine has none."""
        path = self._file(identity)
        try:
            with path.open("rb") as file:
                if is_whole(file):
                    with contextlib.suppress(OSError):
                        os.utime(path)
                    return OpenTable(file)
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        return None

    def made(self, identity: str, make: Callable[[BinaryIO], object]) -> OpenTable:
        """Return the file, and have it made where there is none, by one process at a time.

        Raises OSError where the disk has no room or no rights, and the errors of `make`.
        """
        if (found := self.open(identity)) is not None:
            return found
        with self._turn(identity):
            if (found := self.open(identity)) is not None:
                return found
            with self.draft() as draft:
                make(draft.file)
                self.keep(draft, identity)
        found = self.open(identity)
        if found is None:
            raise OSError(f"The file of a table was lost in {self._path}.")
        self._delete_unused()
        return found

    @contextlib.contextmanager
    def draft(self) -> Iterator[Draft]:
        """Open a new file, which is gone at the end unless it was kept."""
        self._require()
        descriptor, name = tempfile.mkstemp(prefix="draft-", dir=self._path)
        with os.fdopen(descriptor, "w+b") as file:
            try:
                yield Draft(file, Path(name))
            finally:
                Path(name).unlink(missing_ok=True)

    def keep(self, draft: Draft, identity: str) -> None:
        """Make a draft the file of a content."""
        draft.file.flush()
        os.fsync(draft.file.fileno())
        draft.path.replace(self._file(identity))

    @contextlib.contextmanager
    def _turn(self, identity: str) -> Iterator[None]:
        self._require()
        lock = self._path / f"{identity}.lock"
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _require(self) -> None:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = self._path.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
            raise PermissionError(f"{self._path} belongs to another user.")
        if stat.S_IMODE(facts.st_mode) & 0o077:
            self._path.chmod(0o700)

    def _file(self, identity: str) -> Path:
        return self._path / f"{identity}.{_LAYOUT}.table"

    def _delete_unused(self) -> None:
        limit = time.time() - _UNUSED_SECONDS
        for path in self._path.iterdir():
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < limit:
                    path.unlink()

"""The files of the archive: a folder for each flow, files by day, up to a size.

A batch of runs is one frame of zstd, written whole and synced before its rows are deleted. Behind
it stands a mark with the length of the file. Where a kill has cut a frame the mark is missing: then
the next batch begins another file, and readers take what is whole. zstd's own tools read all of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import logging
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import zstandard
from django.conf import settings

logger = logging.getLogger(__name__)

ENDING = ".ndjson.zst"
LEVEL = 6
MOST_BYTES = 64 * 1024**2
# A frame that decompressors leave out: magic number, length, and the length of the file before it.
_MARK = struct.Struct("<IIQ")
_MAGIC = 0x184D2A50
# Of folders: other users of the machine read no payloads.
_MODE = 0o770


def folder() -> Path | None:
    """Return the folder of the archive; None: there is none."""
    path = settings.ASYNCENGINE_ARCHIVE_DIR
    return Path(path) if path else None


@contextmanager
def held() -> Iterator[None]:
    """Keep other processes from changing files; readers go on. Raises OSError.

    Another process may keep it for as long as it takes to write a file anew: it is taken before
    a transaction begins, not within one.
    """
    with (_required_folder() / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def append(flow_name: str, lines: Iterable[bytes], now: datetime) -> None:
    """Add lines to the archive of a flow, which is `held`. They are on disk when it returns.

    Raises OSError.
    """
    path = _file_to_append_to(_required_folder() / _folder_of(flow_name), now)
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(_frame(b"".join(lines)))
            _sync(file)
            file.write(_MARK.pack(_MAGIC, 8, file.tell()))
            _sync(file)
    except OSError:
        # Otherwise each try would take more of a disk that is full.
        with suppress(OSError):
            if size:
                os.truncate(path, size)
            else:
                path.unlink()
        raise
    _sync_folder(path.parent)


def files(flow_name: str | None = None) -> list[Path]:
    """Return the files of a flow, or all, the oldest of each flow first. Raises OSError."""
    if folder() is None:
        return []
    root = _required_folder()
    below = root / _folder_of(flow_name) if flow_name else root
    # `rglob` would leave out a folder that it may not read, and an erasure what is in it.
    every = os.walk(below, onerror=_raise_unless_gone)
    found = (Path(at, name) for at, _, names in every for name in names)
    return sorted((path for path in found if path.name.endswith(ENDING)), key=order_of)


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def order_of(path: Path) -> tuple[Path, tuple[str, int]]:
    """Return what files are sorted by."""
    return path.parent, _number(path)


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file. What a kill has cut at its end is left out."""
    try:
        yield from _every_line_of(path)
    except zstandard.ZstdError as error:
        logger.warning("The rest of the archive's file %s cannot be read: %s", path, error)


def all_lines_of(path: Path) -> Iterator[bytes]:
    """Do the same. Raises OSError where the file is damaged."""
    try:
        yield from _every_line_of(path) if is_whole(path) else lines_of(path)
    except zstandard.ZstdError as error:
        raise OSError(f"The archive's file {path} is damaged: {error}") from error


def _every_line_of(path: Path) -> Iterator[bytes]:
    """Do the same. Raises ZstdError where the file is damaged."""
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        lines = io.BufferedReader(reader)
        while (line := lines.readline()).endswith(b"\n"):
            yield line


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace a file by one with changed lines; a kill leaves the old one or the new one.

    What a kill has cut at its end goes. Raises OSError where the file is damaged: the rest would be
    lost with it.
    """
    with held():
        part = path.with_suffix(".part")
        try:
            with part.open("wb") as file:
                for batch in _batches(map(change, all_lines_of(path))):
                    file.write(_frame(batch))
                file.write(_MARK.pack(_MAGIC, 8, file.tell()))
                _sync(file)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        part.replace(path)
        _sync_folder(path.parent)


def _required_folder() -> Path:
    root = folder()
    if root is None:
        raise OSError("ASYNCENGINE_ARCHIVE_DIR is not set.")
    if not root.is_dir():
        # A folder that was made now would be on this machine's disk where its volume is missing.
        raise OSError(f"The archive's folder {root} is not there: mount its volume, or make it.")
    return root


def _folder_of(flow_name: str) -> str:
    """Return a name for any flow's folder: its beginning to be read, and a digest."""
    digest = hashlib.sha256(flow_name.encode()).hexdigest()[:16]
    return f"{quote(flow_name, safe='')[:60]}-{digest}"


def _file_to_append_to(below: Path, now: datetime) -> Path:
    if not below.exists():
        below.mkdir(_MODE)
        _sync_folder(below.parent)
    day = f"{now:%Y-%m-%d}"
    names = (path.name for path in below.iterdir())
    own = (name for name in names if name.startswith(f"{day}.") and name.endswith(ENDING))
    last = max((_number(below / name)[1] for name in own), default=0)
    path = below / f"{day}.{last}{ENDING}"
    if last and path.stat().st_size < MOST_BYTES and is_whole(path):
        return path
    return below / f"{day}.{last + 1}{ENDING}"


def _number(path: Path) -> tuple[str, int]:
    day, number = path.name.removesuffix(ENDING).split(".")
    return day, int(number)


def is_whole(path: Path) -> bool:
    """Say whether nothing at the end of a file was cut by a kill."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END) - _MARK.size
        if size < 0:
            return False
        file.seek(size)
        return file.read() == _MARK.pack(_MAGIC, 8, size)


def _frame(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(content)


def _batches(lines: Iterable[bytes]) -> Iterator[bytes]:
    batch, size = [], 0
    for line in lines:
        batch.append(line)
        size += len(line)
        if size > 1024**2:
            yield b"".join(batch)
            batch, size = [], 0
    if batch:
        yield b"".join(batch)


def _sync(file: io.BufferedWriter) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

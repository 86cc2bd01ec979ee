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
from contextlib import contextmanager
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


def folder() -> Path | None:
    """Return the folder of the archive; None: there is none."""
    path = settings.ASYNCENGINE_ARCHIVE_DIR
    return Path(path) if path else None


def append(flow_name: str, lines: Iterable[bytes], now: datetime) -> None:
    """Add lines to the archive of a flow. They are on disk when it returns. Raises OSError."""
    root = _required_folder()
    with _locked(root):
        path = _file_to_append_to(root / _folder_of(flow_name), now)
        is_new = not path.exists()
        with path.open("ab") as file:
            file.write(_frame(b"".join(lines)))
            _sync(file)
            file.write(_MARK.pack(_MAGIC, 8, file.tell()))
            _sync(file)
        if is_new:
            _sync_folder(path.parent)


def files(flow_name: str | None = None) -> list[Path]:
    """Return the files of a flow, or all, the oldest of each flow first."""
    root = folder()
    if root is None:
        return []
    below = root / _folder_of(flow_name) if flow_name else root
    return sorted(below.rglob(f"*{ENDING}"), key=lambda path: (path.parent, _number(path)))


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file. What a kill has cut at its end is left out."""
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        lines = io.BufferedReader(reader)
        while True:
            try:
                line = lines.readline()
            except zstandard.ZstdError as error:
                logger.warning("The rest of the archive's file %s cannot be read: %s", path, error)
                return
            if not line.endswith(b"\n"):
                return
            yield line


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace a file by one with changed lines; a kill leaves the old one or the new one."""
    with _locked(_required_folder()):
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            for batch in _batches(map(change, lines_of(path))):
                file.write(_frame(batch))
            file.write(_MARK.pack(_MAGIC, 8, file.tell()))
            _sync(file)
        part.replace(path)
        _sync_folder(path.parent)


def _required_folder() -> Path:
    root = folder()
    if root is None:
        raise OSError("ASYNCENGINE_ARCHIVE_DIR is not set.")
    root.mkdir(parents=True, exist_ok=True)
    return root


def _folder_of(flow_name: str) -> str:
    """Return a name for any flow's folder: its beginning to be read, and a digest."""
    digest = hashlib.sha256(flow_name.encode()).hexdigest()[:16]
    return f"{quote(flow_name, safe='')[:60]}-{digest}"


def _file_to_append_to(below: Path, now: datetime) -> Path:
    if not below.exists():
        below.mkdir()
        _sync_folder(below.parent)
    day = f"{now:%Y-%m-%d}"
    last = max((_number(path)[1] for path in below.glob(f"{day}.*{ENDING}")), default=0)
    path = below / f"{day}.{last}{ENDING}"
    if last and path.stat().st_size < MOST_BYTES and _is_whole(path):
        return path
    return below / f"{day}.{last + 1}{ENDING}"


def _number(path: Path) -> tuple[str, int]:
    day, number = path.name.removesuffix(ENDING).split(".")
    return day, int(number)


def _is_whole(path: Path) -> bool:
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


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Keep other processes from changing files; readers go on."""
    with (root / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sync(file: io.BufferedWriter) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

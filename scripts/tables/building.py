"""Makes the file of a table that hosts map, see `protocol/table_file.py`."""

from __future__ import annotations

import mmap
import sys
from array import array
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO

import orjson

from scripts.protocol.table_file import (
    HEADER,
    MAGIC,
    MAX_ROWS,
    PLACE,
    PLACE_BITS,
    ROW,
    key_hash,
)
from scripts.tables.reading import Rows, TableInvalid

_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a file of a table has: rows, columns (None for JSON) and the name of the key."""

    rows: int
    columns: tuple[str, ...] | None
    key: str


def build(rows: Rows, target: BinaryIO) -> TableFacts:
    """Write the rows into a new file, open for reading and writing.

    Raises TableInvalid, also where a key stands twice.
    """
    target.write(bytes(HEADER.size))
    index = _write_rows(rows, target)
    slots_at = target.tell()
    slots = _slots(target, index, rows.unit)
    slots.tofile(target)
    described_at = target.tell()
    target.write(orjson.dumps({"columns": rows.columns}))
    _write_header(target, len(index.places), slots_at, len(slots), described_at)
    return TableFacts(len(index.places), rows.columns, rows.key)


def is_whole(file: BinaryIO) -> bool:
    """Whether a file is one that `build` has finished."""
    file.seek(0)
    head = file.read(HEADER.size)
    if len(head) < HEADER.size or head[:8] != MAGIC:
        return False
    return bool(HEADER.unpack(head)[-1] == _digest(file))


class _Index:
    """The hash, the place and the number in its file of each row."""

    def __init__(self) -> None:
        self.hashes, self.places, self.numbers = array("Q"), array("Q"), array("I")


def _write_rows(rows: Rows, target: BinaryIO) -> _Index:
    index = _Index()
    hashes, places, numbers = index.hashes, index.places, index.numbers
    place, pack, write = HEADER.size, ROW.pack, target.write
    for key, value, number in rows:
        if len(places) >= MAX_ROWS:
            raise TableInvalid(f"A table has at most {MAX_ROWS:,} rows.")
        hashes.append(key_hash(key))
        places.append(place)
        numbers.append(number)
        place += write(pack(len(key), len(value)) + key + value)
    return index


def _slots(target: BinaryIO, index: _Index, unit: str) -> array[int]:
    number = 8
    while len(index.hashes) * 4 > number * 3:
        number *= 2
    slots = array("Q", bytes(8 * number))
    target.flush()
    with mmap.mmap(target.fileno(), 0, prot=mmap.PROT_READ) as content:
        last = number - 1
        for this, found in enumerate(index.hashes):
            mark, at = found >> PLACE_BITS, found & last
            while slot := slots[at]:
                if slot >> PLACE_BITS == mark:
                    _require_other(content, index, slot & PLACE, this, unit)
                at = (at + 1) & last
            slots[at] = mark << PLACE_BITS | index.places[this]
    if sys.byteorder == "big":
        slots.byteswap()
    return slots


def _require_other(content: mmap.mmap, index: _Index, place: int, this: int, unit: str) -> None:
    key = _key_at(content, place)
    if key == _key_at(content, index.places[this]):
        first = index.numbers[index.places.index(place)]
        raise TableInvalid(
            f"{unit} {index.numbers[this]}: the key {key.decode()[:100]!r} stands there again,"
            f" after {unit} {first}"
        )


def _key_at(content: mmap.mmap, place: int) -> bytes:
    begin = place + ROW.size
    size, _ = ROW.unpack(content[place:begin])
    return content[begin : begin + size]


def _write_header(target: BinaryIO, rows: int, *places: int) -> None:
    target.flush()
    target.seek(HEADER.size)
    digest = _digest(target)
    target.seek(0)
    target.write(HEADER.pack(MAGIC, rows, *places, digest))
    target.flush()


def _digest(file: BinaryIO) -> bytes:
    """Return the digest of what follows the place in the file."""
    digest = sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.digest()

"""The rows of a CSV or JSON file, read piece by piece: memory does not grow with the file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import orjson

from scripts.protocol.table_file import MAX_COLUMNS, MAX_FILE_BYTES, MAX_KEY_BYTES, MAX_ROW_BYTES

_BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t"
_PIECE = 256 * 1024
_BLANKS = " \t\n\r"
FORMATS = ("csv", "json")


class TableInvalid(ValueError):
    """A file that makes no table; the text says where and why."""


class Row(NamedTuple):
    key: bytes
    # JSON text; of a CSV file an array with the text of each column.
    value: bytes
    # Of its first line, or of the entry.
    number: int


class Rows:
    """The rows of a file. `columns` are those of a CSV file, None for JSON; `unit` is what rows are
    numbered by.
    """

    def __init__(
        self, columns: tuple[str, ...] | None, key: str, rows: Iterator[Row], unit: str
    ) -> None:
        self.columns = columns
        self.unit = unit
        self.key = key
        self._rows = rows

    def __iter__(self) -> Iterator[Row]:
        return self._rows


class Pieces(io.RawIOBase):
    """A readable stream of pieces of bytes, with a bound on their sum."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""
        self._taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._taken += len(piece)
            if self._taken > MAX_FILE_BYTES:
                raise TableInvalid(f"The file has more than {MAX_FILE_BYTES >> 20} MB.")
            self._rest = piece
        size = min(len(target), len(self._rest))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def read_rows(pieces: Iterable[bytes], form: str, key: str = "") -> Rows:
    """Read a file of that format. `key` names the column, or the member of each object in a list.

    Without it the first column of a CSV file has the keys, and JSON is one object by key. Raises
    TableInvalid, also while the rows are read.
    """
    source = io.BufferedReader(Pieces(pieces), _PIECE)
    if source.peek(3)[:3] == _BOM:
        source.read(3)
    return _csv_rows(source, key) if form == "csv" else _json_rows(source, key)


# CSV


def _csv_rows(source: BinaryIO, key: str) -> Rows:
    lines = _lines(source)
    first = next(lines, "")
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(_again(first, lines), delimiter=delimiter, strict=True)
    columns = tuple(_next_row(reader) or ())
    if not any(columns):
        raise TableInvalid("The first line must name the columns.")
    if len(columns) > MAX_COLUMNS:
        raise TableInvalid(f"A table has at most {MAX_COLUMNS} columns, not {len(columns)}.")
    if twice := _first_twice(columns):
        raise TableInvalid(f"line 1: the column {twice!r} stands there twice")
    if key and key not in columns:
        raise TableInvalid(f"There is no column {key!r}; there are {', '.join(columns)}.")
    position = columns.index(key) if key else 0
    return Rows(columns, columns[position], _read_csv(reader, columns, position), "line")


def _read_csv(reader: Any, columns: tuple[str, ...], position: int) -> Iterator[Row]:
    dumps, width = orjson.dumps, len(columns)
    while True:
        # A row may have several lines.
        number = reader.line_num + 1
        values = _next_row(reader)
        if values is None:
            return
        if not values:
            continue
        place = f"line {number}"
        if len(values) != width:
            raise TableInvalid(f"{place}: {len(values)} values for {width} columns")
        yield Row(_checked_key(values[position], place), dumps(values), number)


def _next_row(reader: Any) -> list[str] | None:
    try:
        row: list[str] | None = next(reader, None)
    except csv.Error as error:
        raise TableInvalid(f"line {reader.line_num}: {error}") from None
    return row


def _lines(source: BinaryIO) -> Iterator[str]:
    number = 0
    while line := source.readline(MAX_ROW_BYTES + 1):
        number += 1
        if len(line) > MAX_ROW_BYTES:
            raise TableInvalid(f"line {number}: more than {MAX_ROW_BYTES >> 10} kB")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise TableInvalid(f"line {number}: {_no_utf8(error)}") from None
        if "\0" in text:
            raise TableInvalid(f"line {number}: it holds a NUL, so it is no text")
        yield text


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _first_twice(names: tuple[str, ...]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


# JSON


def _json_rows(source: BinaryIO, key: str) -> Rows:
    text = _JsonText(source)
    opening = text.take()
    if opening == "[":
        if not key:
            raise TableInvalid("A list needs the name of the member that has the key.")
        return Rows(None, key, _read_list(text, key), "entry")
    if opening != "{":
        raise TableInvalid("The file must be a JSON object by key, or a list of objects.")
    if key:
        raise TableInvalid("An object by key needs no name of the key.")
    return Rows(None, "", _read_object(text), "entry")


def _read_object(text: _JsonText) -> Iterator[Row]:
    for number, _ in enumerate(text.entries("}"), 1):
        place = f"entry {number}"
        key, _ = text.value(place)
        if not isinstance(key, str):
            raise TableInvalid(f"{place}: a key must be a text")
        if text.take() != ":":
            raise TableInvalid(f"{place}: a colon is missing behind the key")
        yield Row(_checked_key(key, place), text.value(place)[1].encode(), number)


def _read_list(text: _JsonText, name: str) -> Iterator[Row]:
    for number, _ in enumerate(text.entries("]"), 1):
        place = f"entry {number}"
        value, written = text.value(place)
        key = value.get(name) if isinstance(value, dict) else None
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise TableInvalid(f"{place}: it must be an object whose {name!r} is a text")
        yield Row(_checked_key(str(key), place), written.encode(), number)


class _JsonText:
    """A window on a JSON text, from which one value at a time is taken."""

    def __init__(self, source: BinaryIO) -> None:
        self._text = io.TextIOWrapper(source, encoding="utf-8", newline="")
        self._window = ""
        self._at = 0
        self._decoder = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique)

    def entries(self, closing: str) -> Iterator[None]:
        """Yield before each entry up to the closing bracket, behind which the text must end."""
        if self._next() == closing:
            self.take()
        else:
            while True:
                yield
                found = self.take()
                if found == closing:
                    break
                if found != ",":
                    raise TableInvalid(f"A comma or {closing} was expected, not {found!r}.")
        if rest := self.take():
            raise TableInvalid(f"The text goes on behind its end with {rest!r}.")

    def take(self) -> str:
        """Take the next character that is no blank, "" at the end."""
        found = self._next()
        self._at += len(found)
        return found

    def value(self, place: str) -> tuple[Any, str]:
        """Take the next value, and return it with its own text."""
        self._next()
        while True:
            value, end, problem = self._decoded(place)
            # A number at the end may go on in the next piece.
            is_there = end < len(self._window) or not self._fits_more() or not self._read()
            if is_there and problem and self._fits_more():
                raise TableInvalid(f"{place}: {problem}")
            if is_there:
                written = self._window[self._at : end]
                self._at = end
                if len(written) > MAX_ROW_BYTES:
                    raise TableInvalid(f"{place}: more than {MAX_ROW_BYTES >> 10} kB, or no JSON")
                return value, written

    def _decoded(self, place: str) -> tuple[Any, int, str]:
        """Return the value, the end of its text, and what is wrong or missing."""
        try:
            return *self._decoder.raw_decode(self._window, self._at), ""
        except json.JSONDecodeError as error:
            return None, len(self._window), error.msg
        except RecursionError:
            raise TableInvalid(f"{place}: it is nested too deeply") from None
        except ValueError as error:
            raise TableInvalid(f"{place}: {error}") from None

    def _fits_more(self) -> bool:
        return len(self._window) - self._at <= MAX_ROW_BYTES

    def _next(self) -> str:
        while True:
            while self._at < len(self._window):
                if self._window[self._at] not in _BLANKS:
                    return self._window[self._at]
                self._at += 1
            if not self._read():
                return ""

    def _read(self) -> bool:
        try:
            piece = self._text.read(_PIECE)
        except UnicodeDecodeError as error:
            raise TableInvalid(_no_utf8(error)) from None
        self._window = self._window[self._at :] + piece
        self._at = 0
        return bool(piece)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in an object")
    return found


# Both


def _checked_key(key: str, place: str) -> bytes:
    try:
        written = key.encode()
    except UnicodeEncodeError:
        raise TableInvalid(f"{place}: the key has half a character") from None
    if not written:
        raise TableInvalid(f"{place}: the key is empty")
    if len(written) > MAX_KEY_BYTES:
        raise TableInvalid(f"{place}: the key has more than {MAX_KEY_BYTES} bytes")
    return written


def _no_utf8(error: UnicodeDecodeError) -> str:
    return f"byte 0x{error.object[error.start]:02x} is no UTF-8: save the file in that encoding"

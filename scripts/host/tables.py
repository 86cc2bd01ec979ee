"""`context.table`: reference tables, whose files the host has mapped to read them alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from scripts.protocol.envelope import decode
from scripts.protocol.errors import NotListed, NoValue, WrongArgument
from scripts.protocol.numerals import Numerals
from scripts.protocol.table_file import HEADER, MAX_KEY_BYTES, PLACE, PLACE_BITS, ROW, key_hash


class TableFile:
    """A mapped file: the text of a row by its key, and the keys in the order of the table."""

    def __init__(self, content: Any) -> None:
        """`content` is anything that is sliced into bytes, such as a mmap."""
        facts = HEADER.unpack(content[: HEADER.size])
        _, self.size, self.end_of_rows, self._slots, described_at, _ = facts
        self._content = content
        described = orjson.loads(content[described_at:])
        self.columns: tuple[str, ...] | None = (
            None if described["columns"] is None else tuple(described["columns"])
        )

    def text(self, key: str) -> bytes | None:
        """Return the value of a key as JSON text, None where there is no such key."""
        try:
            written = key.encode()
        except UnicodeEncodeError:
            return None
        if len(written) > MAX_KEY_BYTES:
            return None
        content, last, row = self._content, self._slots - 1, ROW
        found = key_hash(written)
        mark = found >> PLACE_BITS
        number = found & last
        while True:
            at = self.end_of_rows + 8 * number
            slot = int.from_bytes(content[at : at + 8], "little")
            if not slot:
                return None
            if slot >> PLACE_BITS == mark:
                place = slot & PLACE
                begin = place + row.size
                key_bytes, value_bytes = row.unpack(content[place:begin])
                middle = begin + key_bytes
                if content[begin:middle] == written:
                    text: bytes = content[middle : middle + value_bytes]
                    return text
            number = (number + 1) & last

    def rows(self, place: int = HEADER.size) -> Iterator[tuple[str, bytes, int]]:
        """Yield key, value as JSON text and the place of the next row, from a place on."""
        content, row = self._content, ROW
        while place < self.end_of_rows:
            begin = place + row.size
            key_bytes, value_bytes = row.unpack(content[place:begin])
            middle = begin + key_bytes
            place = middle + value_bytes
            yield content[begin:middle].decode(), content[middle:place], place


class Table(Mapping[str, Any]):
    """A table by key. A row of a CSV file is a dict of texts, that of JSON any value.

    Each look-up makes its row anew, so changing that changes no table.
    """

    def __init__(self, name: str, file: TableFile, numerals: Numerals) -> None:
        self.name = name
        self._file = file
        self._numerals = numerals

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns of a CSV file; None for JSON."""
        return self._file.columns

    def __getitem__(self, key: str | int) -> Any:
        """Return the row. Raises KeyError; a whole number stands for its digits."""
        text = self._file.text(_key(key))
        if text is None:
            raise KeyError(f"There is no key {str(key)[:100]!r} in the table {self.name!r}.")
        return self._value(text)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str | int) or isinstance(key, bool):
            return False
        return self._file.text(str(key)) is not None

    def __iter__(self) -> Iterator[str]:
        return (key for key, _, _ in self._file.rows())

    def __len__(self) -> int:
        return self._file.size

    def __repr__(self) -> str:
        return f"<table {self.name!r} with {len(self)} rows>"

    def _value(self, text: bytes) -> Any:
        columns = self._file.columns
        if columns is None:
            return decode(text, self._numerals)
        return dict(zip(columns, orjson.loads(text), strict=True))


class Tables:
    """The tables that a script was given, by name, each as its file or the error that it gives."""

    def __init__(self, given: Mapping[str, TableFile | Exception]) -> None:
        self._given = given

    def file(self, name: str) -> TableFile:
        """Return a table. Raises NoValue, NotListed, or RuntimeError where it may come later."""
        found = self._given.get(name) if isinstance(name, str) else None
        if found is None:
            shown = str(name)[:100]
            raise NotListed(f"The script was not given a table {shown!r}: its tables must list it.")
        if isinstance(found, Exception):
            raise type(found)(*found.args)
        return found


NO_TABLES = Tables({})


def given_tables(given: Iterable[tuple[str, str, bool]], files: Iterable[Any]) -> Tables:
    """Return tables by name, problem and whether that may be gone later, and the mapped files."""
    content = iter(files)
    tables: dict[str, TableFile | Exception] = {}
    for name, problem, is_passing in given:
        if problem:
            tables[name] = RuntimeError(problem) if is_passing else NoValue(problem)
        else:
            tables[name] = TableFile(next(content))
    return Tables(tables)


def _key(key: str | int) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    raise WrongArgument(f"The key of a table is a text, not {type(key).__name__}.")

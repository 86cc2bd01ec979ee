"""Tables of a trial that are files and not stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scripts.protocol.calls import Program
from scripts.services.table_storing import format_of
from scripts.services.tables import GivenTable, TableFiles
from scripts.tables.directory import made_apart
from scripts.tables.reading import TableInvalid, read_rows
from scripts.trials.from_files import FilesInvalid

_PIECE = 256 * 1024


class TrialTables(TableFiles):
    """Some tables from files; all others are those that are stored."""

    def __init__(self, own: Mapping[str, GivenTable]) -> None:
        super().__init__()
        self._own = own

    def _given(self, name: str) -> GivenTable | None:
        return self._own.get(name) or super()._given(name)


def with_tables(program: Program, given: Sequence[str]) -> tuple[Program, TrialTables]:
    """Return the program with tables given as NAME=FILE or NAME=FILE:KEY, and these.

    Raises FilesInvalid.
    """
    own = {name: _table(name, file) for name, file in map(_parted, given)}
    names = tuple(dict.fromkeys((*program.tables, *own)))
    return replace(program, tables=names), TrialTables(own)


def _parted(given: str) -> tuple[str, str]:
    name, equals, file = given.partition("=")
    if not equals or not name:
        raise FilesInvalid(f"--table takes NAME=FILE or NAME=FILE:KEY, not {given!r}.")
    return name, file


def _table(name: str, file: str) -> GivenTable:
    path, _, key = file.rpartition(":")
    if not path or Path(file).exists():
        path, key = file, ""
    try:
        made = made_apart(read_rows(_pieces(path), format_of(path), key))
    except OSError as error:
        raise FilesInvalid(f"Cannot read {path}: {error}") from error
    except TableInvalid as error:
        raise FilesInvalid(f"{path}: {error}") from error
    return GivenTable(name, identity=f"file {file}", file=made)


def _pieces(path: str) -> Iterator[bytes]:
    with Path(path).open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece

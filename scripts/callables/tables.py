"""`context.table` of callables, which map the files in their own process."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

from scripts.host.tables import NO_TABLES, TableFile, Tables
from scripts.protocol.calls import Program
from scripts.protocol.errors import NoValue
from scripts.tables.directory import mapped

if TYPE_CHECKING:
    from scripts.services.tables import GivenTable, TableFiles


def tables_of(program: Program) -> Tables:
    """Return the tables that a callable lists, in their newest versions."""
    return Tables(_mapped(program)) if program.tables else NO_TABLES


def _mapped(program: Program) -> dict[str, TableFile | Exception]:
    given = files().given(program)
    if given is None:
        away = RuntimeError("The tables cannot be read now.")
        return dict.fromkeys(program.tables, away)
    return {each.name: _file(each) for each in given}


@lru_cache(maxsize=64)
def _file(given: GivenTable) -> TableFile | Exception:
    if given.file is None:
        return RuntimeError(given.problem) if given.is_passing else NoValue(given.problem)
    return TableFile(mapped(given.file))


@cache
def files() -> TableFiles:
    """Return the files of the callables of this process, read on their own connections."""
    # Imported late: reads the database, which a callable without tables does not need.
    from scripts.services.tables import TableFiles

    return TableFiles(threaded=False)

"""The tables of running scripts: their newest versions, made into files on this machine."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from math import inf
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.db import InterfaceError, OperationalError

from scripts.models import ReferenceTable, TableContent
from scripts.protocol.calls import Program
from scripts.protocol.services import Deadline, RequestFailed
from scripts.protocol.table_file import MAX_TABLES
from scripts.services.database import let_go
from scripts.tables.building import build
from scripts.tables.directory import OpenTable, TableDirectory
from scripts.tables.reading import read_rows

logger = logging.getLogger(__name__)

# The time after which a new version reaches running workers.
KEPT_SECONDS = 5.0
# Where there is none: it may just have been uploaded.
KEPT_SECONDS_OF_MISSING = 0.5
_DATABASE_RETRY_SECONDS = 0.2
_BUSY_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class GivenTable:
    """A table as a host gets it: a file to map, or why there is none.

    `is_passing`: it may be there later.
    """

    name: str
    identity: str = ""
    problem: str = ""
    is_passing: bool = False
    file: OpenTable | None = field(default=None, compare=False)


class _Known:
    """What is known of a table, and when it was looked up last."""

    def __init__(self) -> None:
        self.given: GivenTable | None = None
        self.checked_at = -inf
        self.is_busy = self.is_making = False

    @property
    def is_usable(self) -> bool:
        """Whether scripts may get it as it is, or the one before while a file is made."""
        if self.given is None:
            return False
        is_missing = bool(self.given.problem) and not self.given.is_passing
        kept = KEPT_SECONDS_OF_MISSING if is_missing else KEPT_SECONDS
        return self.is_making or time.monotonic() - self.checked_at < kept


class TableFiles:
    """The files of the tables that scripts list.

    `threaded`: the database is read in threads. Else those that ask wait for it.
    """

    def __init__(self, *, threaded: bool = True) -> None:
        self._threaded = threaded
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def __call__(
        self, program: Program, request: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        """Refuse a request: hosts get tables with their program."""
        raise RequestFailed("Tables are not requested.", "unknown")

    def given(self, program: Program) -> tuple[GivenTable, ...] | None:
        """Return the tables of a program; None while one is looked up or made, so ask again.

        Where it does not read in threads, None says that the database is away.
        """
        found = [self._given(name) for name in program.tables[:MAX_TABLES]]
        present = tuple(each for each in found if each is not None)
        return present if len(present) == len(found) else None

    def expire(self) -> None:
        """Look all up anew at the next use."""
        for known in self._known.values():
            known.checked_at = -inf

    def _given(self, name: str) -> GivenTable | None:
        while True:
            with self._lock:
                known = self._known.setdefault(name, _Known())
                if known.is_usable:
                    return known.given
                if not known.is_busy:
                    known.is_busy = True
                    break
            if self._threaded:
                return None
            # A callable does not ask again. Not by a lock, in which it could not be ended.
            time.sleep(_BUSY_SECONDS)
        if self._threaded:
            try:
                threading.Thread(target=self._look_up, args=(name, known), daemon=True).start()
            except RuntimeError:
                # The system lets none be made now. It is asked for again.
                known.is_busy = False
            return None
        self._look_up(name, known)
        return known.given

    def _look_up(self, name: str, known: _Known) -> None:
        try:
            known.given = self._newest(name, known)
            known.checked_at = time.monotonic()
        except (OperationalError, InterfaceError):
            # The database is away: the messages wait for it.
            if self._threaded:
                time.sleep(_DATABASE_RETRY_SECONDS)
        except Exception as error:
            logger.exception("the table %r cannot be used", name)
            problem = f"The table {name!r} cannot be used now: {error}"
            known.given = GivenTable(name, problem=problem, is_passing=True)
            known.checked_at = time.monotonic()
        finally:
            known.is_busy = known.is_making = False
            if self._threaded:
                let_go()

    def _newest(self, name: str, known: _Known) -> GivenTable:
        content = newest_content(name)
        if content is None:
            return GivenTable(name, problem=f"There is no table {name!r} in this installation.")
        if known.given is not None and known.given.identity == content.identity:
            return known.given
        known.is_making = True
        return GivenTable(name, content.identity, file=opened(content))


def newest_content(name: str) -> TableContent | None:
    """Return what a table has now."""
    table = ReferenceTable.objects.filter(name=name).first()
    latest = table and table.latest()
    return latest.content if latest else None


def opened(content: TableContent) -> OpenTable:
    """Return the file of a content on this machine, made where it is not there."""
    from scripts.services.table_storing import file_of

    def make(target: BinaryIO) -> object:
        return build(read_rows(file_of(content), content.format, content.key), target)

    return table_directory().made(content.identity, make)


def table_directory() -> TableDirectory:
    """Return where this machine has the files of tables."""
    path = getattr(settings, "ASYNCENGINE_TABLES_DIRECTORY", "")
    return _directory(str(path) or str(_default_path()))


@cache
def _directory(path: str) -> TableDirectory:
    return TableDirectory(path)


def _default_path() -> Path:
    return Path(tempfile.gettempdir()) / f"asyncengine-tables-{os.geteuid()}"

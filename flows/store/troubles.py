"""What a database error means, by the code that the database gives it.

Python's classes do not tell: "read only" is an InternalError on PostgreSQL and an OperationalError
on SQLite, where "no such table" is an OperationalError, too.
PostgreSQL: its documentation, appendix A. SQLite: https://www.sqlite.org/rescode.html.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from enum import Enum

from django.db import DatabaseError, InterfaceError, OperationalError

from flows.store.pending_starts import QUEUE_FULL

DATABASE_ERRORS = (DatabaseError, InterfaceError)


class Trouble(Enum):
    """What is wrong with the database, whichever statement comes next."""

    AWAY = "the connection is lost, or there is none"
    UNWILLING = "it is there and does not do what it is asked: read-only, full, shutting down"
    BUSY = "others were in the way: a lock, a deadlock, a conflict of transactions"
    UNFIT = "its tables, rights or connection are not as the engine needs them"

    @property
    def passes(self) -> bool:
        """Whether the same statement may succeed later, with nothing done about it here."""
        return self is not Trouble.UNFIT


# Codes go before their classes, which are the first two characters. None: the values of the
# statement are at fault, and only those.
BY_SQLSTATE: dict[str, Trouble | None] = {
    "08": Trouble.AWAY,
    "28": Trouble.AWAY,
    "3D": Trouble.AWAY,
    "57": Trouble.UNWILLING,
    "57014": Trouble.BUSY,
    # The server has ended the connection.
    "57P01": Trouble.AWAY,
    "57P02": Trouble.AWAY,
    "57P03": Trouble.AWAY,
    "57P05": Trouble.AWAY,
    "25": Trouble.UNFIT,
    "25006": Trouble.UNWILLING,
    "25P02": Trouble.AWAY,
    "25P03": Trouble.AWAY,
    "25P04": Trouble.AWAY,
    "53": Trouble.UNWILLING,
    "58": Trouble.UNWILLING,
    "F0": Trouble.UNWILLING,
    "XX001": Trouble.UNWILLING,
    "XX002": Trouble.UNWILLING,
    "40": Trouble.BUSY,
    "55": Trouble.BUSY,
    # A prepared statement of another session, or of a table that was changed since.
    "26": Trouble.AWAY,
    "42P05": Trouble.AWAY,
    "0A000": Trouble.AWAY,
    "21": None,
    "22": None,
    "23": None,
    "38": None,
    "39": None,
    "44": None,
    "54": None,
    "P0": None,
    QUEUE_FULL: None,
    # Also for a value that does not fit into memory.
    "XX": None,
}

BY_SQLITE_CODE: dict[int, Trouble | None] = {
    sqlite3.SQLITE_CANTOPEN: Trouble.AWAY,
    sqlite3.SQLITE_NOTADB: Trouble.UNWILLING,
    sqlite3.SQLITE_CORRUPT: Trouble.UNWILLING,
    sqlite3.SQLITE_FULL: Trouble.UNWILLING,
    sqlite3.SQLITE_IOERR: Trouble.UNWILLING,
    sqlite3.SQLITE_NOLFS: Trouble.UNWILLING,
    sqlite3.SQLITE_NOMEM: Trouble.UNWILLING,
    sqlite3.SQLITE_PERM: Trouble.UNWILLING,
    sqlite3.SQLITE_READONLY: Trouble.UNWILLING,
    sqlite3.SQLITE_ABORT: Trouble.BUSY,
    sqlite3.SQLITE_BUSY: Trouble.BUSY,
    sqlite3.SQLITE_INTERRUPT: Trouble.BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.BUSY,
    sqlite3.SQLITE_PROTOCOL: Trouble.BUSY,
    sqlite3.SQLITE_SCHEMA: Trouble.BUSY,
    sqlite3.SQLITE_CONSTRAINT: None,
    sqlite3.SQLITE_MISMATCH: None,
    sqlite3.SQLITE_RANGE: None,
    sqlite3.SQLITE_TOOBIG: None,
}


def trouble_of(error: BaseException) -> Trouble | None:
    """Return what is wrong with the database; None where the statement's own values are.

    None also for what is no database error.
    """
    for cause in causes(error):
        if isinstance(cause, _of_psycopg("Error")) and (code := getattr(cause, "sqlstate", None)):
            return of_sqlstate(code)
        if isinstance(cause, sqlite3.Error) and hasattr(cause, "sqlite_errorcode"):
            return of_sqlite_code(cause.sqlite_errorcode)
    if isinstance(error, (DatabaseError, InterfaceError, sqlite3.Error, *_of_psycopg("Error"))):
        return without_code(error)
    return None


def is_damaged(error: BaseException) -> bool:
    """Say whether the file of SQLite is broken, or is none."""
    codes = (getattr(cause, "sqlite_errorcode", 0) & 0xFF for cause in causes(error))
    return any(code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT) for code in codes)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was raised from: Django's come from the driver's."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def of_sqlstate(code: str) -> Trouble | None:
    """Look a code up. One that is unknown is nothing that a message could do."""
    return BY_SQLSTATE.get(code, BY_SQLSTATE.get(code[:2], Trouble.UNFIT))


def of_sqlite_code(code: int) -> Trouble | None:
    """Look a code up; an extended one has the primary one in its lowest eight bits."""
    return BY_SQLITE_CODE.get(code & 0xFF, Trouble.UNFIT)


def without_code(error: BaseException) -> Trouble | None:
    """Classify what a driver has raised itself: it has no connection, or does not take a value."""
    known = (OperationalError, InterfaceError, sqlite3.OperationalError, sqlite3.InterfaceError)
    if isinstance(error, known + _of_psycopg("OperationalError") + _of_psycopg("InterfaceError")):
        return Trouble.AWAY
    return Trouble.AWAY if "closed" in str(error) else None


def _of_psycopg(name: str) -> tuple[type[BaseException], ...]:
    """Return a class of psycopg's where it is loaded. Without it, none of its errors exists."""
    found = getattr(sys.modules.get("psycopg"), name, None)
    return (found,) if found else ()

"""A database error is classified by its code: the database's trouble, or its statement's fault."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django import db
from django.db.utils import DatabaseErrorWrapper
from hypothesis import given
from hypothesis import strategies as st
from psycopg.errors import lookup

from flows.errors import CommitInDoubt
from flows.store.troubles import Trouble, of_sqlite_code, of_sqlstate, trouble_of


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        ("08000", Trouble.AWAY),
        ("08006", Trouble.AWAY),
        ("28P01", Trouble.AWAY),
        ("3D000", Trouble.AWAY),
        ("57P01", Trouble.AWAY),
        ("57P02", Trouble.AWAY),
        ("57P03", Trouble.AWAY),
        ("57P05", Trouble.AWAY),
        ("25P03", Trouble.AWAY),
        ("26000", Trouble.AWAY),
        ("25006", Trouble.UNWILLING),
        ("53000", Trouble.UNWILLING),
        ("53100", Trouble.UNWILLING),
        ("53200", Trouble.UNWILLING),
        ("53300", Trouble.UNWILLING),
        ("58030", Trouble.UNWILLING),
        ("40001", Trouble.BUSY),
        ("40P01", Trouble.BUSY),
        ("55P03", Trouble.BUSY),
        ("57014", Trouble.BUSY),
        ("42P01", Trouble.UNFIT),
        ("42501", Trouble.UNFIT),
        ("25001", Trouble.UNFIT),
        ("22001", None),
        ("22P05", None),
        ("23505", None),
        ("54000", None),
        ("P0001", None),
        ("XX000", None),
        ("XX001", Trouble.UNWILLING),
    ],
)
def test_postgresql_errors_are_classified_by_their_sqlstate(code: str, trouble: Trouble | None):
    error = lookup(code)("what it says does not matter")

    assert of_sqlstate(code) is trouble
    assert trouble_of(error) is trouble
    assert trouble_of(as_django_raises(error)) is trouble


def as_django_raises(error: psycopg.Error) -> BaseException:
    backend: Any = SimpleNamespace(Database=psycopg, errors_occurred=False)
    try:
        with DatabaseErrorWrapper(backend):
            raise error
    except Exception as raised:
        return raised


@given(st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=5, max_size=5))
def test_no_unknown_code_is_a_messages_own_fault(code: str):
    known_as_own = ("QF001", "21", "22", "23", "38", "39", "44", "54", "P0", "XX")

    assert of_sqlstate(code) is not None or code.startswith(known_as_own)


@pytest.mark.parametrize(
    ("code", "trouble"),
    [
        (sqlite3.SQLITE_BUSY, Trouble.BUSY),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Trouble.BUSY),
        (sqlite3.SQLITE_LOCKED_SHAREDCACHE, Trouble.BUSY),
        (sqlite3.SQLITE_READONLY, Trouble.UNWILLING),
        (sqlite3.SQLITE_READONLY_DBMOVED, Trouble.UNWILLING),
        (sqlite3.SQLITE_FULL, Trouble.UNWILLING),
        (sqlite3.SQLITE_IOERR_WRITE, Trouble.UNWILLING),
        (sqlite3.SQLITE_CORRUPT_INDEX, Trouble.UNWILLING),
        (sqlite3.SQLITE_CANTOPEN, Trouble.AWAY),
        (sqlite3.SQLITE_ERROR, Trouble.UNFIT),
        (sqlite3.SQLITE_CONSTRAINT_CHECK, None),
        (sqlite3.SQLITE_TOOBIG, None),
    ],
)
def test_sqlite_errors_are_classified_by_their_code(code: int, trouble: Trouble | None):
    assert of_sqlite_code(code) is trouble


def locked(path: Path) -> None:
    with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(path, timeout=0)) as two:
        one.execute("BEGIN EXCLUSIVE")
        two.execute("BEGIN EXCLUSIVE")


def read_only(path: Path) -> None:
    sqlite3.connect(path).close()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        file.execute("CREATE TABLE t (x)")


def full(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE t (x)")
        file.execute("PRAGMA max_page_count = 2")
        file.execute("INSERT INTO t VALUES (zeroblob(100000))")


def no_database(path: Path) -> None:
    path.write_bytes(b"something else" * 100)
    with closing(sqlite3.connect(path)) as file:
        file.execute("SELECT * FROM sqlite_master")


def not_there(path: Path) -> None:
    sqlite3.connect(path / "missing" / "file")


def without_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("SELECT * FROM t")


def constraint(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE t (x NOT NULL)")
        file.execute("INSERT INTO t VALUES (NULL)")


def closed(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        pass
    file.execute("SELECT 1")


@pytest.mark.parametrize(
    ("fail", "trouble"),
    [
        (locked, Trouble.BUSY),
        (read_only, Trouble.UNWILLING),
        (full, Trouble.UNWILLING),
        (no_database, Trouble.UNWILLING),
        (not_there, Trouble.AWAY),
        (closed, Trouble.AWAY),
        (without_table, Trouble.UNFIT),
        (constraint, None),
    ],
)
def test_errors_of_a_real_file_are_classified(
    tmp_path: Path, fail: Callable[[Path], None], trouble: Trouble | None
):
    with pytest.raises(sqlite3.Error) as raised:
        fail(tmp_path / "file")

    assert trouble_of(raised.value) is trouble


@pytest.mark.parametrize(
    "error",
    [
        db.OperationalError("gone"),
        db.InterfaceError("connection already closed"),
        psycopg.OperationalError("server closed the connection unexpectedly"),
        CommitInDoubt("lost during a commit"),
    ],
)
def test_what_a_driver_says_without_a_code_is_a_lost_connection(error: Exception):
    assert trouble_of(error) is Trouble.AWAY


@pytest.mark.parametrize(
    "error",
    [
        psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"),
        db.IntegrityError("broken"),
        ValueError("no database error"),
        RecursionError(),
    ],
)
def test_a_value_that_a_driver_refuses_is_the_statements_own_fault(error: Exception):
    assert trouble_of(error) is None


def test_only_what_an_operator_must_mend_does_not_pass():
    assert [trouble for trouble in Trouble if not trouble.passes] == [Trouble.UNFIT]

"""A broker's wait ends with the commit of another process, however long that takes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper

from flows.store import listener as listeners
from flows.store.file_writes import FileWrites
from flows.store.listener import SQLiteListener
from scripts.protocol.waker import Waker
from tests.waiting import PATIENCE

LONG = 100 * PATIENCE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "one.sqlite3"
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("CREATE TABLE t (x BLOB)")
    return path


@pytest.fixture(params=["told of writes", "told nothing"])
def listener(
    request: pytest.FixtureRequest,
    path: Path,
    db: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SQLiteListener]:
    own = {"ENGINE": DatabaseWrapper.__module__, "OPTIONS": {}, "NAME": path}
    database = DatabaseWrapper(connections.settings["default"] | own, "listener")
    database.inc_thread_sharing()
    monkeypatch.setattr(listeners, "connection", database)
    if request.param == "told nothing":
        monkeypatch.setattr(FileWrites, "of", lambda path: None)
    listener = SQLiteListener()
    yield listener
    listener.close()
    database.close()


def waiting(listener: SQLiteListener, *wakers: Waker) -> Thread:
    thread = Thread(target=listener.wait, args=(LONG, wakers), daemon=True)
    thread.start()
    return thread


def has_ended(thread: Thread) -> bool:
    thread.join(PATIENCE)
    return not thread.is_alive()


def test_a_wait_ends_with_a_commit(listener: SQLiteListener, path: Path) -> None:
    wait = waiting(listener)

    with closing(sqlite3.connect(path)) as other:
        other.execute("INSERT INTO t VALUES (1)")
        other.commit()

    assert has_ended(wait)


def test_a_commit_between_the_look_and_the_wait_ends_it(
    listener: SQLiteListener, path: Path
) -> None:
    listener.look()
    with closing(sqlite3.connect(path)) as other:
        other.execute("INSERT INTO t VALUES (1)")
        other.commit()

    assert has_ended(waiting(listener))


def test_a_commit_long_after_its_writes_ends_it(listener: SQLiteListener, path: Path) -> None:
    wait = waiting(listener)

    with closing(sqlite3.connect(path)) as other:
        # What does not fit into the cache is written at once.
        other.execute("PRAGMA cache_size = 1")
        other.executemany("INSERT INTO t VALUES (?)", [(b"x" * 50_000,)] * 50)
        assert Path(f"{path}-wal").stat().st_size > 1_000_000
        wait.join(0.5)
        assert wait.is_alive()
        other.commit()

    assert has_ended(wait)


def test_the_log_may_be_made_anew(listener: SQLiteListener, path: Path) -> None:
    listeners.connection.close()
    Path(f"{path}-wal").unlink(missing_ok=True)
    listener.look()
    wait = waiting(listener)

    with closing(sqlite3.connect(path)) as other:
        other.execute("INSERT INTO t VALUES (1)")
        other.commit()

    assert has_ended(wait)


def test_a_waker_ends_a_wait(listener: SQLiteListener) -> None:
    waker = Waker()
    wait = waiting(listener, waker)

    waker.wake()

    assert has_ended(wait)
    waker.close()

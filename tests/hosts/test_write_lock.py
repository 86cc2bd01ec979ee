import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from flows.processes import is_alive, is_stopped
from flows.store.sqlite import SQLite
from flows.store.write_lock import write_lock, writers
from flows.worker import cluster
from flows.worker.cluster import WriteGuard
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux shows the holder of a lock"
)

WRITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("ready", flush=True)
input()
"""
TAKE_LOCK = """
import fcntl, sys
file = open(sys.argv[1] + "-turn", "w")
print("waits", flush=True)
fcntl.flock(file, fcntl.LOCK_EX)
print("ready", flush=True)
input()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "some.sqlite3"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE some (id)")
    return path


@contextlib.contextmanager
def other_process(code: str, database: Path, says: str = "ready") -> Iterator[int]:
    command = [sys.executable, "-c", code, str(database)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        while process.stdout.readline().strip() != says:
            assert process.poll() is None
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("code", [WRITE, TAKE_LOCK])
def test_the_writer_is_found(database: Path, code: str):
    with other_process(code, database) as pid:
        assert writers(str(database)) == {pid}


def test_a_process_that_waits_for_the_lock_is_no_writer(database: Path):
    with (
        other_process(TAKE_LOCK, database) as writer,
        other_process(TAKE_LOCK, database, says="waits"),
    ):
        assert writers(str(database)) == {writer}


def test_only_a_process_stopped_in_mid_write_is_ended(database: Path, monkeypatch):
    monkeypatch.setattr(cluster, "STOPPED_SECONDS", 0.0)
    monkeypatch.setattr(SQLite, "writers", lambda self: writers(str(database)))
    guard = WriteGuard()

    with other_process(WRITE, database) as pid:
        guard.look()
        guard.look()
        assert is_alive(pid)

        signal.pidfd_send_signal(os.pidfd_open(pid), signal.SIGSTOP)
        wait_for(lambda: is_stopped(pid), 5, "the stop")
        guard.look()

        def is_ended() -> bool:
            guard.look()
            return not is_alive(pid)

        wait_for(is_ended, 5, "the end of the stopped process")


def test_a_thread_that_ends_leaves_no_descriptor_open(tmp_path, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "some.sqlite3"))
    opened = []

    def take_lock():
        with write_lock.take():
            opened.append(write_lock.file.descriptor)
            os.fstat(opened[0])

    thread = threading.Thread(target=take_lock)
    thread.start()
    thread.join()

    assert opened
    assert not is_open_here(opened[0], tmp_path)


def is_open_here(descriptor, directory):
    link = Path(f"/proc/self/fd/{descriptor}")
    return link.is_symlink() and str(directory) in str(link.readlink())

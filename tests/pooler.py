"""A real PgBouncer before the PostgreSQL that the tests run on."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.databases import free_port, is_postgresql
from tests.waiting import wait_for

# Debian's is where only root looks for programs.
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
POOLER_TESTS = [
    pytest.mark.pooler,
    pytest.mark.skipif(not is_postgresql(), reason="there is no pooler for SQLite"),
    pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed"),
]

# In session mode each client needs a session of its own.
# It takes no start-up parameter but those that it knows, as it comes: `options` is none of them.
CONFIGURATION = """
[databases]
* = {server_at} pool_size=40
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
max_client_conn = 500
"""


@contextmanager
def pooler(mode: str) -> Iterator[int]:
    """Run PgBouncer, in session or transaction mode, and yield its port."""
    assert PROGRAM is not None
    with psycopg.connect(os.environ["DATABASE_URL"]) as server:
        info = server.info
        host, at = info.host, {"host": info.host, "port": info.port, "user": info.user}
        if info.password:
            at["password"] = info.password
    own_port = free_port()
    # Not below pytest's directory: as root it runs as another user.
    directory = Path(tempfile.mkdtemp(prefix="asyncengine-pooler-"))
    user = unprivileged_user(host)
    file = directory / "pgbouncer.ini"
    server_at = " ".join(f"{name}={value}" for name, value in at.items())
    file.write_text(CONFIGURATION.format(own_port=own_port, mode=mode, server_at=server_at))
    for path in (directory, file):
        if user is not None:
            os.chown(path, user, -1)
    process = subprocess.Popen(
        [PROGRAM, "-q", file],
        user=user,
        extra_groups=[] if os.geteuid() == 0 else None,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: process.poll() is not None or answers(own_port), 30, "the pooler")
        assert process.poll() is None
        yield own_port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory)


def through(port: int, database_url: str) -> str:
    """Return the URL of the same database through the pooler."""
    return f"postgres://anyone@127.0.0.1:{port}{urlsplit(database_url).path}"


def unprivileged_user(server_host: str) -> int | None:
    """Return as which user it runs: never root, and one that may use the server's socket."""
    if os.geteuid() != 0:
        return None
    owner = Path(server_host).stat().st_uid if server_host.startswith("/") else 0
    return owner or 65534


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False

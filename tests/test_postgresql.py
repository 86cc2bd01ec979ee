"""The suite once more, on a real PostgreSQL."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.databases import is_postgresql, postgresql_server

TESTS = Path(__file__).parent


@pytest.mark.skipif(is_postgresql(), reason="the suite is on PostgreSQL already")
def test_the_whole_suite_passes_on_postgresql(capfd):
    with postgresql_server() as url, capfd.disabled():
        # None of these tests takes the server's power away: commits need not wait for the disk.
        with psycopg.connect(url, autocommit=True) as server:
            server.execute("ALTER SYSTEM SET synchronous_commit = off")
            server.execute("SELECT pg_reload_conf()")
        # Acceptance tests wait most of the time; together they take little longer than the others.
        runs = [start_pytest(kind, url) for kind in ("integration", "acceptance")]
        codes = [run.wait() for run in runs]

    assert codes == [0, 0]


def start_pytest(kind: str, url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS / kind)],
        env=os.environ | {"DATABASE_URL": url},
        cwd=TESTS.parent,
    )

"""The suite once more, on a real PostgreSQL.

Where this machine has a server on its path, the integration tests run on that one, as it comes and
over TCP: people install such a one. It may compile queries, has other versions and defaults, and is
not reached by a local socket. The acceptance tests run beside them on the server from the wheel, so
that both are used and none of the tests runs twice. Without a server on the path all run on the
wheel's.
"""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.databases import (
    installed_postgresql,
    installed_postgresql_server,
    is_postgresql,
    postgresql_server,
)

TESTS = Path(__file__).parent


@pytest.mark.skipif(is_postgresql(), reason="the suite is on PostgreSQL already")
def test_the_whole_suite_passes_on_postgresql(capfd):
    with ExitStack() as servers, capfd.disabled():
        wheel = servers.enter_context(postgresql_server())
        programs = installed_postgresql()
        installed = programs and servers.enter_context(installed_postgresql_server(programs))
        # Acceptance tests wait most of the time; together they take little longer than the others.
        urls = {"integration": installed or wheel, "acceptance": wheel}
        for url in {*urls.values()}:
            wait_for_no_disk(url)
        runs = [start_pytest(kind, url) for kind, url in urls.items()]
        codes = [run.wait() for run in runs]

    assert codes == [0, 0]


def wait_for_no_disk(url: str) -> None:
    """Commits need not wait for the disk: none of these tests takes the server's power away."""
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("ALTER SYSTEM SET synchronous_commit = off")
        server.execute("SELECT pg_reload_conf()")


def start_pytest(kind: str, url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS / kind)],
        env=os.environ | {"DATABASE_URL": url},
        cwd=TESTS.parent,
    )

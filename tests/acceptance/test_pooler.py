"""An installation whose database stands behind a pooler."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation
from tests.databases import migrated_database
from tests.pooler import POOLER_TESTS, pooler, through

pytestmark = POOLER_TESTS

FLOW = {
    "scripts": [
        {
            "name": "echo",
            "language": "python",
            "code": "def run(message, context):\n    return message",
        }
    ],
    "queues": [{"name": "first"}, {"name": "second"}],
    "flows": [
        {
            "name": "pooled",
            "steps": [
                {"name": "one", "script": "echo", "queue": "first"},
                {"name": "two", "script": "echo", "queue": "second"},
            ],
        }
    ],
}


@pytest.fixture(params=["session", "transaction"])
def pooled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    with migrated_database(tmp_path) as url, pooler(request.param) as port:
        installation = Installation(through(port, url), tmp_path)
        installation.environment["DATABASE_DIRECT_URL"] = url
        try:
            yield installation
        finally:
            installation.http.close()
            if installation.process is not None:
                installation.stop()


def test_everything_runs_behind_a_pooler(pooled: Installation):
    pooled.up("--no-demo")
    pooled.configure(FLOW)

    ids = [pooled.start("pooled", {"n": n}) for n in range(20)]
    runs = [pooled.run(id, wait=30) for id in ids]

    assert [run["status"] for run in runs] == ["COMPLETED"] * 20
    assert pooled.manage("check", "--database", "default").stderr == ""
    assert pooled.manage("check_conservation").returncode == 0
    assert pooled.stop() == 0

"""Databases of earlier versions, with work under way, that this version takes over.

`upgrade/` holds the database of an installation that was killed in the middle of its work, as
SQL, and the correlation ids of its runs by what they were doing. Made at the commit before the
modules and columns of `flows` got their present names.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.installation import Installation
from tests.databases import fresh_database, is_postgresql
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.long

KEPT = Path(__file__).parent / "upgrade"
# Its queued tasks are signed with this.
SECRET_KEY = "a key of the upgrade test alone"
QUICKER_REPROCESSING = "UPDATE flows_reprocessing SET rate_per_second = 50"


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    kind = "postgresql" if is_postgresql() else "sqlite"
    directory = tmp_path_factory.mktemp("upgrade")
    with fresh_database(directory) as url:
        restore(url, gzip.decompress((KEPT / f"{kind}.sql.gz").read_bytes()))
        installation = Installation(url, directory)
        installation.environment["ASYNCENGINE_SECRET_KEY"] = SECRET_KEY
        try:
            installation.up("--no-demo")
            yield installation
        finally:
            installation.http.close()
            installation.stop()


@pytest.fixture
def runs() -> dict[str, list[str]]:
    kind = "postgresql" if is_postgresql() else "sqlite"
    ids: dict[str, list[str]] = json.loads((KEPT / f"{kind}.json").read_text())
    return ids


def restore(url: str, sql: bytes) -> None:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            file.executescript(sql.decode() + QUICKER_REPROCESSING)
            file.commit()
        return
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(sql)
        server.execute("SET search_path TO public")
        server.execute(QUICKER_REPROCESSING)


def test_work_under_way_in_an_earlier_version_goes_on_with_nothing_lost(
    upgraded: Installation, runs: dict[str, list[str]]
) -> None:
    for queue in ("waiting-2", "narrow"):
        assert upgraded.http.post(f"/api/queues/{queue}/resume").status_code == 200

    assert results(upgraded, runs["completed"]) == [{"i": number} for number in range(5)]
    assert {status(upgraded, run) for run in runs["cancelled"]} == {"CANCELLED"}
    assert len(results(upgraded, runs["waiting"])) == 13
    assert results(upgraded, runs["held"]) == [{"i": number} for number in range(2)]
    assert results(upgraded, runs["fanned"]) == [{"sum": sum(range(30))}] * 2
    assert results(upgraded, runs["judged"]) == [{"mended": True}] * 20
    wait_for(lambda: states(upgraded) == ["FINISHED"], PATIENCE, "the bulk reprocessing's end")
    upgraded.manage("check_conservation")


def test_schedules_and_tasks_of_an_earlier_version_still_run(upgraded: Installation) -> None:
    def outcomes() -> list[tuple[Any, ...]]:
        return upgraded.rows("SELECT success FROM django_q_task WHERE func LIKE '%purge'")

    wait_for(lambda: len(outcomes()) >= 3, PATIENCE, "both schedules and the queued task")

    assert all(success for (success,) in outcomes())


def results(installation: Installation, ids: list[str]) -> list[Any]:
    ended = [installation.run(run, wait=10) for run in ids]
    assert [run["status"] for run in ended] == ["COMPLETED"] * len(ids)
    return [run["result"]["payload"] for run in ended]


def status(installation: Installation, run: str) -> str:
    return str(installation.run(run)["status"])


def states(installation: Installation) -> list[str]:
    return [state for (state,) in installation.rows("SELECT state FROM flows_reprocessing")]

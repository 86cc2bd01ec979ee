"""Callables in the workers of an installation, which are killed and which they kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.acceptance.installation import Installation, snapshot
from tests.acceptance.processes import await_completion, start_anyhow
from tests.chaos.checks import Accepted, faults_in
from tests.databases import migrated_database
from tests.waiting import wait_for

pytestmark = pytest.mark.long

CRASH = "before-commit-of-results"
STEPS = ["s0", "s1"]


def script(name: str, **options: object) -> dict[str, object]:
    return {"name": name, "language": "callable", "code": f"tests.callables.{name}", **options}


def one_step(name: str, threads: int = 1) -> dict[str, object]:
    return {"name": name, "steps": [{"script": name, "queue": name, "threads": threads}]}


CONFIGURATION = {
    "scripts": [
        script("record", inTransaction=True),
        script("leave_mark"),
        script("mark_and_spin", timeoutSeconds=0.3),
        script("explodes", timeoutSeconds=0.3),
    ],
    "queues": [
        *({"name": name, "maxDeliveries": 50} for name in (*STEPS, "leave_mark")),
        *(
            {"name": name, "maxDeliveries": 2, "backoff": {"initialSeconds": 0.05}}
            for name in ("mark_and_spin", "explodes")
        ),
    ],
    "flows": [
        {
            "name": "recorded",
            "steps": [{"name": name, "script": "record", "queue": name} for name in STEPS],
        },
        one_step("leave_mark", threads=4),
        one_step("mark_and_spin"),
        one_step("explodes"),
    ],
}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("installation")
    with migrated_database(directory) as url:
        installation = Installation(url, directory)
        installation.environment |= {
            "ASYNCENGINE_CALLABLE_MODULES": "tests.callables",
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "CRASH_MARKS": str(directory),
            "CRASH_AT": CRASH,
        }
        try:
            installation.up("--no-demo")
            installation.configure(CONFIGURATION)
            yield installation
        finally:
            installation.http.close()
            if installation.process is not None:
                installation.stop()


def test_writes_and_hand_over_are_one_when_workers_are_killed(installation: Installation):
    """First in the middle of the transaction that holds both, then wherever they are."""
    history: list[Accepted] = []
    kills = 0
    while kills < 5:
        for _ in range(40):
            key = str(len(history))
            run = start_anyhow(installation, "recorded", {}, key)
            history.append(Accepted(key, run, "recorded", fails=False))
        for (pid,) in installation.rows("SELECT pid FROM flows_consumer WHERE pid IS NOT NULL"):
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
                kills += 1
    wait_for(lambda: is_at_rest(installation), 60, "rest")

    assert (installation.directory / CRASH).exists()
    with snapshot(installation.database_url) as query:
        findings = faults_in(query, history, {"recorded": STEPS})
        written = Counter(what for (what,) in query("SELECT object_repr FROM django_admin_log"))
    assert findings.nothing(), findings
    assert written == Counter(
        f"{start.correlation_id}/{step} {step}" for start in history for step in STEPS
    )


def is_at_rest(installation: Installation) -> bool:
    return installation.rows("SELECT COUNT(*) FROM flows_message") == [(0,)]


@pytest.mark.parametrize("flow", ["mark_and_spin", "explodes"])
def test_one_that_cannot_be_ended_is_dead_lettered_and_harms_no_other(
    installation: Installation, flow: str, tmp_path: Path
):
    marks = tmp_path / "marks"
    overdue = start_anyhow(installation, flow, {"file": str(marks)}, flow)
    others = [
        start_anyhow(installation, "leave_mark", {"file": str(tmp_path / "other")}, f"{flow}-{n}")
        for n in range(20)
    ]

    for run in others:
        await_completion(installation, run, 30)
    wait_for(lambda: installation.run(overdue)["status"] == "FAILED", 60, "a dead letter")

    assert "died during the last delivery" in installation.run(overdue)["error"]
    if flow == "mark_and_spin":
        assert marks.read_text() == "1\n2\n"
        assert "went on after its time was up" in installation.output.read_text()

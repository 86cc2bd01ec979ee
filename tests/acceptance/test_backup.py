"""The commands of the README for backup and restore: an installation goes on from a backup."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from tests.acceptance.installation import ROOT, Installation, ended
from tests.databases import (
    fresh_database,
    is_postgresql,
    migrated_database,
    postgresql_clients,
)
from tests.waiting import PATIENCE, wait_for

SLOW = "import time\n\n\ndef run(message, context):\n    time.sleep(0.5)\n    return message\n"
CONFIGURATION: Any = {
    "scripts": [{"name": "slow", "code": SLOW}],
    "queues": [{"name": "q"}],
    "flows": [{"name": "f", "steps": [{"name": "s", "script": "slow", "queue": "q"}]}],
}


def commands(heading: str) -> str:
    """Return the commands below a heading of the README."""
    text = (ROOT / "asyncengine/README.md").read_text(encoding="utf-8")
    found = re.search(rf"^### {heading}\n.*?^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def run_commands(heading: str, installation: Installation, **variables: str) -> None:
    """Run the commands below a heading of the README. `PATH` comes before the present one."""
    environment = installation.environment | variables
    path = [variables.get("PATH", ""), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment["PATH"] = ":".join(filter(None, path))
    subprocess.run(
        ["sh", "-euc", commands(heading)], cwd=ROOT, env=environment, check=True, timeout=300
    )


def installation_of(data: Path) -> Installation:
    data.parent.mkdir(exist_ok=True)
    installation = Installation(f"sqlite:///{data / 'asyncengine.sqlite3'}", data.parent)
    installation.environment["ASYNCENGINE_DATA_DIR"] = str(data)
    return installation


@pytest.mark.long
def test_an_installation_goes_on_from_a_backup_that_was_taken_while_it_ran(tmp_path: Path) -> None:
    data, backup, new = (tmp_path / name / "var" for name in ("old", "backup", "new"))
    places = {"DATA": str(data), "BACKUP": str(backup), "NEW": str(new)}

    with ended(installation_of(data)) as old:
        old.up("--no-demo")
        old.configure(CONFIGURATION)
        started = [old.start("f", {"number": number}) for number in range(20)]
        wait_for(lambda: old.run(started[0])["status"] == "COMPLETED", PATIENCE, "the first end")
        run_commands("Backup of SQLite", old, **places)
        old.stop(signal.SIGKILL)

    assert {oct(each.stat().st_mode & 0o777) for each in backup.iterdir()} == {"0o600"}
    with ended(installation_of(new)) as restored:
        run_commands("Restore of SQLite", restored, **places)
        restored.up("--no-demo")

        ends = {restored.run(each, wait=10)["status"] for each in started}

        assert ends == {"COMPLETED"}
        restored.manage("check_conservation")


# What each run has read, and how often its effect was committed, is in the database alone.
COUNTING = """
import time


def run(message, context):
    time.sleep(0.1)
    town = context.table("towns")["10115"]["town"]
    context.state.increment("runs")
    return {"read": [context.secrets["shop.key"][::-1], context.config["shop"], town]}
"""
REFUSING = """
def run(message, context):
    raise Reject("it is refused")
"""
READ = ["swordfish", "shop.example.org", "Berlin"]
# The secret as it is not masked.
SEEN = [READ[0][::-1], *READ[1:]]
EVERYTHING: Any = {
    "scripts": [
        {"name": "slow", "code": SLOW},
        {"name": "refusing", "code": REFUSING},
        {"name": "counting", "code": COUNTING, "secrets": ["shop.key"], "tables": ["towns"]},
    ],
    "queues": [{"name": name} for name in ("first", "second", "bad", "held")],
    "flows": [
        {
            "name": "steady",
            "steps": [
                {"name": "one", "script": "slow", "queue": "first", "threads": 8},
                {"name": "two", "script": "counting", "queue": "second", "threads": 8},
            ],
            "schedules": [{"name": "yearly", "cron": "0 0 1 1 *"}],
        },
        {"name": "bad", "steps": [{"name": "bad", "script": "refusing", "queue": "bad"}]},
        {"name": "held", "steps": [{"name": "held", "script": "counting", "queue": "held"}]},
    ],
    "alertTargets": [{"name": "team", "addressSecret": "shop.key", "active": False}],
    "alertThresholds": {"queueFullPercent": 80},
}


class Load(threading.Thread):
    """A caller that starts a run after the other, and notes those that were accepted."""

    def __init__(self, installation: Installation) -> None:
        super().__init__()
        self.installation = installation
        self.accepted: list[str] = []
        self.ends = threading.Event()

    def run(self) -> None:
        while not self.ends.wait(0.05):
            self.accepted.append(self.installation.start("steady", {}))

    def goes_on(self) -> None:
        before = len(self.accepted)
        wait_for(lambda: len(self.accepted) > before + 10, PATIENCE, "starts that are accepted")


@contextmanager
def under_load(installation: Installation) -> Iterator[Load]:
    load = Load(installation)
    load.start()
    try:
        yield load
    finally:
        load.ends.set()
        load.join()


def runs_of(installation: Installation, flow: str) -> dict[str, str]:
    """Return the states of the runs of a flow by their ids."""
    rows = installation.rows(
        "SELECT run.correlation_id, run.status FROM flows_run run JOIN flows_flowversion version"
        f" ON version.id = run.flow_version_id WHERE version.flow_name = '{flow}'"
    )
    return {str(run): status for run, status in rows}


def states_of(installation: Installation, flow: str) -> list[str]:
    return sorted(runs_of(installation, flow).values())


def counted(installation: Installation) -> int:
    """Return how often the last step was committed, as the scripts themselves have counted."""
    found = installation.rows(
        "SELECT state.value FROM flows_flowstate state JOIN flows_flow flow"
        " ON flow.id = state.flow_id WHERE flow.name = 'steady'"
    )
    return int(found[0][0]) if found else 0


def exported(installation: Installation) -> str:
    return installation.manage("config", "export").stdout


def furnish(installation: Installation, directory: Path) -> None:
    """Make a secret, a value, a table, dead letters, runs that wait and runs of tomorrow."""
    subprocess.run(
        [sys.executable, "manage.py", "secrets", "set", "shop.key"],
        cwd=ROOT,
        env=installation.environment,
        input=READ[0].encode(),
        check=True,
        capture_output=True,
    )
    installation.manage("values", "set", "shop", READ[1])
    (directory / "towns.csv").write_text(f"zip,town\n10115,{READ[2]}\n")
    installation.manage("tables", "set", "towns", str(directory / "towns.csv"))
    installation.configure(EVERYTHING)
    paused = installation.http.post("/api/queues/held/pause", json={"reason": "a backup"})
    assert paused.status_code == 200, paused.text
    for flow in ("bad", "held"):
        for _ in range(3):
            installation.start(flow, {})
    tomorrow = {"flowName": "held", "startAt": f"{datetime.now(UTC) + timedelta(days=1):%FT%TZ}"}
    for _ in range(3):
        answer = installation.http.post("/api/start", params=tomorrow, json={})
        assert answer.status_code == 202, answer.text
    wait_for(lambda: set(states_of(installation, "bad")) == {"FAILED"}, PATIENCE, "dead letters")


@pytest.mark.skipif(not is_postgresql(), reason="SQLite has commands of its own")
def test_a_dump_of_postgresql_under_load_goes_on_elsewhere_with_nothing_lost_or_doubled(
    tmp_path: Path,
) -> None:
    dead_letters = "SELECT count(*) FROM flows_deadletter"
    with migrated_database(tmp_path) as old_url, fresh_database(tmp_path) as new_url:
        programs = postgresql_clients(old_url)
        if programs is None:
            pytest.skip("pg_dump is missing, or older than the server")
        places = {"BACKUP": str(tmp_path), "NEW_DATABASE_URL": new_url, "PATH": str(programs)}
        keys = {
            "ASYNCENGINE_SECRET_KEY": "k" * 50,
            "ASYNCENGINE_SECRETS_KEYS": Fernet.generate_key().decode(),
        }
        old, restored = (Installation(url, tmp_path) for url in (old_url, new_url))
        for each in (old, restored):
            each.environment |= keys

        with ended(old):
            old.up("--no-demo")
            furnish(old, tmp_path)
            with under_load(old) as load:
                wait_for(lambda: counted(old) > 5, PATIENCE, "completed runs")
                load.goes_on()
                before, done_before = set(load.accepted), counted(old)
                run_commands("Backup of PostgreSQL", old, **places)
                load.goes_on()
            document = exported(old)
            old.stop(signal.SIGKILL)

        with ended(restored):
            run_commands("Restore of PostgreSQL", restored, **places)
            restored.manage("check_conservation")
            dumped = runs_of(restored, "steady")
            completed = [run for run, status in dumped.items() if status == "COMPLETED"]
            assert before <= dumped.keys() < set(load.accepted)
            assert {"QUEUED", "RUNNING"} & set(dumped.values())
            assert len(completed) == counted(restored) >= done_before
            assert restored.rows(dead_letters) == [(3,)]

            restored.up("--no-demo")
            wait_for(
                lambda: set(states_of(restored, "steady")) == {"COMPLETED"},
                PATIENCE,
                "the ends of all runs of the dump",
            )
            schedule = restored.http.get("/api/flows/steady/schedules/yearly").json()
            waited, configuration = states_of(restored, "held"), exported(restored)
            restored.http.post("/api/queues/held/resume", json={}).raise_for_status()
            wait_for(
                lambda: states_of(restored, "held") == ["COMPLETED"] * 3 + ["QUEUED"] * 3,
                PATIENCE,
                "runs that waited",
            )

            assert runs_of(restored, "steady").keys() == dumped.keys()
            assert counted(restored) == len(dumped)
            assert [restored.run(run)["result"]["read"] for run in dumped] == [SEEN] * len(dumped)
            assert waited == ["QUEUED"] * 6
            assert schedule["nextAt"]
            assert configuration == document
            assert restored.rows(dead_letters) == [(3,)]
            restored.manage("check_conservation")

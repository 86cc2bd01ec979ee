"""Commands and workers on a database that is not there, or has no tables."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.acceptance.installation import Installation, free_port
from tests.acceptance.processes import step
from tests.databases import postgresql_server
from tests.waiting import PATIENCE, wait_for

# Each command is a process.
pytestmark = pytest.mark.long

WAITS = "this cluster waits for its database"
CONFIGURATION = {
    "scripts": [{"name": "echo", "code": "def run(message, context):\n    return message\n"}],
    "queues": [{"name": "q"}],
    "flows": [{"name": "echo", "steps": [step("s", "echo", "q")]}],
}


@pytest.mark.parametrize(
    "command",
    [["secrets", "list"], ["start", "echo"], ["purge"], ["dead_letters", "list"]],
    ids=" ".join,
)
def test_command_on_a_database_without_tables_says_what_to_run(command, tmp_path: Path):
    finished = Installation(f"sqlite:///{tmp_path}/new.sqlite3", tmp_path).manage(
        *command, check=False
    )

    assert finished.returncode == 1
    first, second = finished.stderr.splitlines()
    assert first.startswith(f"The database {tmp_path}/new.sqlite3 says: no such table: ")
    assert "migrate" in second


@pytest.mark.parametrize("command", [["migrate"], ["up"], ["start", "echo"]], ids=" ".join)
def test_command_without_its_database_names_the_place(command, tmp_path: Path):
    url = f"postgres://user:password@127.0.0.1:{free_port()}/name"
    finished = Installation(url, tmp_path).manage(*command, check=False)

    assert finished.returncode == 1
    assert "The database name on 127.0.0.1:" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert "password" not in finished.stderr
    assert finished.stderr.splitlines()[-1] == "Is it up, and does DATABASE_URL name it?"


def test_error_of_an_app_that_cannot_be_loaded_is_told_as_it_is(tmp_path: Path):
    (tmp_path / "broken.py").write_text("raise RuntimeError('the app is at fault')\n")
    (tmp_path / "own.py").write_text(
        "from asyncengine.settings import *\nINSTALLED_APPS = ['broken', *INSTALLED_APPS]\n"
    )
    installation = Installation(f"sqlite:///{tmp_path}/new.sqlite3", tmp_path)
    installation.environment |= {
        "DJANGO_SETTINGS_MODULE": "own",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(installation.project)]),
    }

    finished = installation.manage("check", check=False)

    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == "RuntimeError: the app is at fault"
    assert finished.stderr.count("Traceback") == 1


def test_workers_wait_for_their_database_and_say_so_once(tmp_path: Path):
    with postgresql_server() as url:
        installation = Installation(urlunsplit(urlsplit(url)._replace(path="/later")), tmp_path)
        log = tmp_path / "log"
        with installation.cluster(log):
            wait_for(lambda: WAITS in log.read_text(), what="a word of the cluster")
            with psycopg.connect(url, autocommit=True) as server:
                server.execute("CREATE DATABASE later")
            installation.manage("migrate")
            installation.configure(CONFIGURATION)
            answer = installation.manage("start", "echo", "--wait", str(PATIENCE))
    assert json.loads(answer.stdout)["status"] == "COMPLETED"
    assert log.read_text().count(WAITS) == 1
    assert "Traceback" not in log.read_text()

"""The commands of the README for backup and restore: an installation goes on from a backup."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import ROOT, Installation, ended
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.long

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


def installation_of(data: Path) -> Installation:
    data.parent.mkdir(exist_ok=True)
    installation = Installation(f"sqlite:///{data / 'asyncengine.sqlite3'}", data.parent)
    installation.environment["ASYNCENGINE_DATA_DIR"] = str(data)
    return installation


def test_an_installation_goes_on_from_a_backup_that_was_taken_while_it_ran(tmp_path: Path) -> None:
    data, backup, new = (tmp_path / name / "var" for name in ("old", "backup", "new"))
    places = {"DATA": str(data), "BACKUP": str(backup), "NEW": str(new)}

    def run(heading: str, installation: Installation) -> None:
        python = str(Path(sys.executable).parent)
        environment = installation.environment | places
        environment["PATH"] = f"{python}:{environment['PATH']}"
        subprocess.run(
            ["sh", "-euc", commands(heading)], cwd=ROOT, env=environment, check=True, timeout=300
        )

    with ended(installation_of(data)) as old:
        old.up("--no-demo")
        old.configure(CONFIGURATION)
        started = [old.start("f", {"number": number}) for number in range(20)]
        wait_for(lambda: old.run(started[0])["status"] == "COMPLETED", PATIENCE, "the first end")
        run("Backup of SQLite", old)
        old.stop(signal.SIGKILL)

    with ended(installation_of(new)) as restored:
        run("Restore of SQLite", restored)
        restored.up("--no-demo")

        ends = {restored.run(each, wait=10)["status"] for each in started}

        assert ends == {"COMPLETED"}
        restored.manage("check_conservation")

"""The commands of the READMEs, run as they stand in one installation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import ROOT, Installation, installation_in
from tests.shell_blocks import RUN, Block, code_of
from tests.waiting import PATIENCE

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Path]]:
    """An installation with the demo, and a directory that looks like a checkout of it."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("asyncengine", "flows", "scripts"):
        (checkout / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "manage.py", checkout)
    (checkout / ".venv").symlink_to(sys.prefix)
    with installation_in(tmp_path_factory.mktemp("data")) as installation:
        installation.up()
        yield installation, checkout


@pytest.mark.parametrize("block", RUN, ids=lambda block: f"{block[0]}: {block[1][:40]}")
def test_a_block_of_a_readme_runs_as_it_stands(
    started: tuple[Installation, Path], block: Block
) -> None:
    installation, checkout = started
    environment = dict(installation.environment)
    environment["PATH"] = f"{checkout / '.venv/bin'}:{environment['PATH']}"
    environment["PYTHONPATH"] = str(ROOT)

    done = subprocess.run(
        ["sh", "-euc", code_of(block)],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tutorial_ends_as_it_says(started: tuple[Installation, Path]) -> None:
    """After the blocks above: the run that failed was repaired, and no letter is open."""
    installation, _ = started

    runs = installation.http.get("/api/runs", params={"flowName": "invoice"}).json()["results"]
    ends = [installation.run(each["correlationId"], wait=10) for each in runs]

    assert sorted(each["result"]["total"] for each in ends) == [-119, 119]
    assert installation.http.get("/api/dead-letters").json()["results"] == []

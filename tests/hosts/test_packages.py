"""A project that has packages named like the engine's learns it, in a line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def check(directory: Path, *python_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the installed command `asyncengine check` in a directory."""
    return subprocess.run(
        [sys.executable, "-c", "from asyncengine.command import installed; installed()", "check"],
        cwd=directory,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(map(str, python_path)),
            "ASYNCENGINE_DATA_DIR": str(directory / "data"),
        },
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", ["flows", "scripts"])
def test_a_package_that_hides_one_of_the_engine_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()

    done = check(tmp_path, ROOT)

    assert done.returncode == 1
    assert done.stderr.startswith(
        f"Python finds the package {name!r} in {tmp_path / name}, and not"
    )
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a project whose package the engine hides."""
    directory = tmp_path_factory.mktemp("beside")
    (directory / "project" / "flows").mkdir(parents=True)
    (directory / "project" / "flows" / "__init__.py").touch()
    return directory


@pytest.fixture(scope="module")
def checked(beside: Path) -> subprocess.CompletedProcess[str]:
    return check(beside, ROOT, beside / "project")


@pytest.mark.long
def test_a_package_that_the_engine_hides_is_named(
    beside: Path, checked: subprocess.CompletedProcess[str]
) -> None:
    assert checked.returncode == 0, checked.stderr
    assert "(flows.W017)" in checked.stderr
    assert str(beside / "project" / "flows") in checked.stderr


def test_files_of_an_installation_are_made_where_the_variable_says(
    beside: Path, checked: subprocess.CompletedProcess[str]
) -> None:
    made = {path.name for path in (beside / "data").iterdir()}

    assert checked.returncode == 0, checked.stderr
    assert {"secret_key", "secrets_key"} <= made
    assert not (beside / "var").exists()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("command", [["config", "schema"], ["help", "--commands"]])
def test_a_command_whose_output_is_not_read_ends_quietly(command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (141, "")

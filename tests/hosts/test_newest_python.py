"""The engine with the newest Python of this machine, and the libraries that pip resolves for it.

From Python 3.12 on Django is 6.1, with a tasks framework of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.hosts.wheels import ROOT
from tests.pythons import environment, newest_python

# Installs all libraries.
pytestmark = pytest.mark.long

MODULES = (
    "tests/unit",
    "tests/hosts/test_wheel.py",
    "tests/hosts/test_existing_project.py",
    "tests/hosts/test_callables.py",
    "tests/hosts/test_sandbox.py",
    "tests/hosts/test_examples.py",
    "tests/acceptance/test_django_tasks.py",
    "tests/integration/test_tasks_backend.py",
)
TELL = "import django; print('%d.%d' % django.VERSION[:2])"


def newest() -> tuple[str, Path]:
    return newest_python() or pytest.skip("no newer Python is on the path or among pyenv's")


@pytest.fixture(scope="module")
def newer_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, python = newest()
    directory = tmp_path_factory.mktemp("newer") / "venv"
    return environment(python, directory, "-e", f"{ROOT}[test]")


def test_the_engine_works_with_a_newer_python_and_its_django(newer_python: Path):
    surroundings = {name: text for name, text in os.environ.items() if "PYTEST" not in name}

    ended = subprocess.run(
        [
            *(newer_python, "-m", "pytest", "-q", "-n", "0", "-m", "not chaos"),
            # Since Python 3.13 it is told that a test left a connection to the garbage collector.
            *("-W", "ignore:unclosed database:ResourceWarning"),
            *("-p", "no:cacheprovider", *MODULES),
        ],
        cwd=ROOT,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    assert ended.returncode == 0, ended.stdout
    django = subprocess.check_output([newer_python, "-c", TELL], text=True)
    assert max(map(numbers, named("Framework"))) <= numbers(django)


def test_the_classifiers_name_no_newer_python_than_this_one():
    version, _ = newest()

    assert max(map(numbers, named("Programming Language :: Python"))) <= numbers(version)


def named(of: str) -> list[str]:
    """Return the versions that the classifiers name."""
    text = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    return re.findall(rf"^{of}.* :: (\d+\.\d+)$", "\n".join(text), re.MULTILINE)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.strip().split(".")))

"""What is installed is whole, and typed for those who install it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.acceptance.installation import free_port
from tests.hosts.wheels import PACKAGES, ROOT, install
from tests.waiting import PATIENCE, wait_for

# Builds the wheel and installs it.
pytestmark = pytest.mark.long

USERS_MODULES = (ROOT / "tests/users_module.py", ROOT / "tests/users_tests_module.py")
# Not for those who install it: the Java of the Service Pipes and what Python made.
LEFT_OUT = {".java", ".pyc"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A directory with the packages as pip installs them."""
    built = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(built)
    return built


def mypy(module: Path, site: Path) -> str:
    """Return what mypy says of a module of a project, in whose environment the packages are."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file="),
            *("--cache-dir", str(site / ".mypy_cache"), module.name),
        ],
        # A directory on Python's path is to mypy what site-packages are.
        env=os.environ | {"PYTHONPATH": str(site)},
        cwd=module.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def files_of(directory: Path) -> set[str]:
    return {
        str(path.relative_to(directory))
        for name in PACKAGES
        for path in (directory / name).rglob("*")
        if path.is_file()
        and path.suffix not in LEFT_OUT
        # Of the documents only those of rooms.
        and (path.suffix != ".md" or path.with_name("__init__.py").exists())
        # What is no Python, and what is a distribution of its own.
        and not any(other in str(path) for other in ("pipes/java", "asyncengine/client"))
    }


def test_the_wheel_has_every_file_of_the_packages(site):
    expected = files_of(ROOT)

    assert expected - files_of(site) == set()
    assert {"flows/py.typed", "scripts/py.typed"} <= expected
    assert {"flows/templates/admin/login.html", "scripts/static/scripts/editor.js"} <= expected


@pytest.mark.parametrize("module", USERS_MODULES, ids=lambda module: module.stem)
def test_a_users_module_is_well_typed_in_the_strict_mode_of_mypy(site, tmp_path, module):
    shutil.copy(module, tmp_path)

    said = mypy(tmp_path / module.name, site)

    assert said == "Success: no issues found in 1 source file\n"


def test_the_strict_mode_of_mypy_finds_what_is_wrong_in_a_users_module(site, tmp_path):
    wrong = [
        "public.start('flow', {}, priority='high')",
        "public.start('flow', [1])",
        "public.start('flow', {}, idempotency_key=5)",
        "public.pause('flow')",
        "public.result(5)",
        "public.reprocess('letter')",
        "public.start_many('flow', {'a': 1})",
        "public.Retry(after=[])",
        "public.Reject(5)",
        "public.flow_plan",
        "number: int = public.status('run')",
    ]
    module = tmp_path / "wrong.py"
    module.write_text("from flows import public\n\n" + "\n".join(wrong) + "\n")

    said = mypy(module, site)

    lines = {int(line.split(":")[1]) for line in said.splitlines() if ": error:" in line}
    assert lines == set(range(3, 3 + len(wrong))), said


def test_the_strict_mode_of_mypy_finds_what_is_wrong_in_a_users_tests(site, tmp_path):
    wrong = [
        "kit.start('flow', {}, priority='high')",
        "kit.start_many('flow', [{}], idempotency_key='k')",
        "kit.outside.get('https://a.example.org/', status='503')",
        "kit.outside.get('https://a.example.org/', lambda call: 5)",
        "kit.outside.get('https://a.example.org/', after=5)",
        "kit.run('flow', {}).assert_attempts('one', 2)",
        "kit.secrets['key'] = 5",
        "kit.advance('an hour')",
    ]
    module = tmp_path / "wrong.py"
    module.write_text("from flows.testing import FlowKit\n\nkit = FlowKit()\n" + "\n".join(wrong))

    said = mypy(module, site)

    lines = {int(line.split(":")[1]) for line in said.splitlines() if ": error:" in line}
    assert lines == set(range(4, 4 + len(wrong))), said


def test_a_file_of_a_script_is_typed_and_imported_where_the_engine_is_installed(site, tmp_path):
    """A project may test the functions of a script as those of any module."""
    module = tmp_path / "order.py"
    module.write_text(
        "from asyncengine_script import Context, Message, Reject\n\n\n"
        "def run(message: Message, context: Context) -> Message:\n"
        "    context.log(message['payload'])\n"
        "    raise Reject('no')\n"
    )

    said = mypy(module, site)
    done = subprocess.run(
        [sys.executable, "-c", "import order; print(order.Reject.__module__)"],
        env=os.environ | {"PYTHONPATH": str(site)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert said == "Success: no issues found in 1 source file\n"
    assert done.stdout == "scripts.host.exceptions\n", done.stderr


@pytest.mark.parametrize("conftest", ["", "pytest_plugins = ['flows.pytest_plugin']\n"])
def test_pytest_finds_the_fixture_of_the_test_kit_by_itself(site, tmp_path, conftest):
    """Where a project names the plug-in as well, it is still one."""
    (tmp_path / "conftest.py").write_text(conftest)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "--fixtures", "-p", "no:cacheprovider", "-c", os.devnull],
        env=os.environ | {"PYTHONPATH": str(site), "PYTEST_ADDOPTS": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert "\nflow_kit -- " in ended.stdout, ended.stdout + ended.stderr
    assert "\nflow_kit_in_process -- " in ended.stdout


def test_an_installation_begins_in_an_empty_directory_and_runs_the_demo(wheel, tmp_path):
    """With the command that pip installs. The libraries are those of this environment."""
    environment, empty = tmp_path / "venv", tmp_path / "an empty directory"
    empty.mkdir()
    install(wheel, environment)
    log, port = tmp_path / "log", free_port()
    with log.open("w") as output:
        up = subprocess.Popen(
            [environment / "bin" / "asyncengine", "up", "--port", str(port)],
            cwd=empty,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        [curl] = wait_for(lambda: re.findall(r"(curl .*)\n", log.read_text()), PATIENCE)
        started = json.loads(subprocess.check_output(curl, shell=True, text=True))
        [password] = re.findall("with the password (\\S+)", log.read_text())
        address = f"http://127.0.0.1:{port}{urlsplit(started['statusUrl']).path}?wait=60"
        ended = httpx.get(address, auth=("admin", password), timeout=90).json()
        pages = f"http://127.0.0.1:{port}/async/docs/"
        first, guides = (
            httpx.get(pages + name, timeout=90) for name in ("", "flows/documentation/")
        )
    finally:
        up.terminate()
        up.wait(60)

    assert ended["status"] == "COMPLETED", log.read_text()
    assert up.returncode == 0
    # Its text is the description of the wheel.
    assert 'id="two-commands"' in first.text
    assert 'id="limit-a-rate"' in guides.text
    assert "asyncengine.sqlite3" in {path.name for path in (empty / "var").iterdir()}
    assert {path.name for path in empty.iterdir()} == {"var"}

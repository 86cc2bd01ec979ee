"""The test kit as a project uses it: the example of the page, run by pytest and by manage.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import fresh_database, is_postgresql, migrated_file

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parent.parent.parent
CHECK = (
    "def run(message, context):\n"
    "    if message['payload']['amount'] <= 0:\n"
    "        raise Reject('the amount must be positive')\n"
    "    return message\n"
)
CHARGE = (
    "def run(message, context):\n"
    "    answer = context.http.post(\n"
    "        'https://pay.example.org/charges',\n"
    "        json=message['payload'],\n"
    "        headers={'Authorization': f'Bearer {context.secrets[\"pay.key\"]}'},\n"
    "    )\n"
    "    message['payload']['charge'] = answer.raise_for_status().json()['id']\n"
    "    return message\n"
)
CONFIGURATION = {
    "scripts": [
        {"name": "check", "codeFile": "scripts/check.py"},
        {
            "name": "charge",
            "codeFile": "scripts/charge.py",
            "network": True,
            "secrets": ["pay.key"],
        },
    ],
    "queues": [{"name": "check"}, {"name": "charge"}],
    "flows": [
        {
            "name": "order",
            "steps": [
                {"name": "check", "script": "check", "queue": "check"},
                {"name": "charge", "script": "charge", "queue": "charge"},
            ],
        }
    ],
}
# To migrate costs more than the tests; one of them does.
TABLES = """
import os
from pathlib import Path

if migrated := os.environ.get("SHOP_MIGRATED"):
    from django.db.backends.sqlite3.base import DatabaseWrapper
    from tests.databases import copying

    DatabaseWrapper.prepare_database = copying(lambda: Path(migrated))
"""
FAILING = """
def test_that_fails(flow_kit):
    flow_kit.configure(CONFIGURATION)
    flow_kit.run("order", {"amount": -1}).assert_completed()


def test_that_fails_too(flow_kit):
    flow_kit.configure(CONFIGURATION)
    flow_kit.secrets["pay.key"] = "swordfish"
    flow_kit.run("order", {"amount": 1})
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A project with an app `shop`, whose only test module is the example of the page."""
    files = {
        "manage.py": (ROOT / "manage.py").read_text(),
        "project.py": "from asyncengine.settings import *\n"
        "from asyncengine.settings import INSTALLED_APPS\n"
        f'INSTALLED_APPS = [*INSTALLED_APPS, "shop"]\n{TABLES}',
        "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = project\nfilterwarnings = error\n",
        "shop/__init__.py": "",
        "shop/tests/__init__.py": "",
        "shop/tests/test_orders.py": example(),
        "shop/configuration/configuration.json": json.dumps(CONFIGURATION),
        "shop/configuration/scripts/check.py": CHECK,
        "shop/configuration/scripts/charge.py": CHARGE,
    }
    for name, text in files.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with fresh_database(tmp_path) as url:
        (tmp_path / "url").write_text(url)
        yield tmp_path / "project"


def example() -> str:
    page = (ROOT / "flows" / "testing" / "README.md").read_text()
    found = re.search(r"```python\n(# shop/tests/test_orders.py\n.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


def run(project: Path, *command: str, migrates: bool = False) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "DATABASE_URL": (project.parent / "url").read_text(),
        "DJANGO_SETTINGS_MODULE": "project",
        "PYTHONPATH": f"{project}{os.pathsep}{ROOT}",
        "ASYNCENGINE_DATA_DIR": str(project.parent / "data"),
    }
    if not (migrates or is_postgresql()):
        environment["SHOP_MIGRATED"] = str(migrated_file())
    # Those of the tests that run this one.
    for name in ("PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_TESTRUNUID"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


PYTEST = ("-m", "pytest", "-p", "flows.pytest_plugin", "-p", "no:cacheprovider")


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_the_example_of_the_page_passes_with_pytest(project, options):
    ended = run(project, *PYTEST, *options, migrates=not options)

    assert ended.returncode == 0, ended.stdout
    assert "2 passed" in ended.stdout


@pytest.mark.parametrize("options", [(), ("--parallel", "2")], ids=["alone", "parallel"])
def test_the_test_case_of_the_page_passes_with_the_runner_of_django(project, options):
    module = project / "shop/tests/test_orders.py"
    # The runner shares out classes.
    second = module.read_text().replace("RefusedOrders", "OtherRefusedOrders")
    (project / "shop/tests/test_others.py").write_text(second)

    ended = run(project, "-W", "error", "manage.py", "test", "shop", *options)

    assert ended.returncode == 0, ended.stdout
    assert "Ran 2 tests" in ended.stdout


def test_a_test_that_fails_tells_what_became_of_the_run(project):
    with (project / "shop/tests/test_orders.py").open("a") as module:
        module.write(FAILING)

    ended = run(project, *PYTEST, "-k", "that_fails")

    assert ended.returncode == 1, ended.stdout
    assert "The run is FAILED, not COMPLETED." in ended.stdout
    assert "the amount must be positive" in ended.stdout
    # The line of the test, and not those of the kit.
    assert "no stub: POST https://pay.example.org/charges" in ended.stdout
    for error in ("AssertionError", "NotStubbed"):
        assert re.search(rf"^shop/tests/test_orders.py:\d+: {error}$", ended.stdout, re.MULTILINE)
    assert "flows/testing" not in ended.stdout


def test_the_plug_in_harms_no_tests_without_django(tmp_path):
    (tmp_path / "test_plain.py").write_text("def test_plain():\n    pass\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in ("DJANGO_SETTINGS_MODULE", "PYTEST_ADDOPTS"):
        environment.pop(name, None)

    ended = subprocess.run(
        [sys.executable, *PYTEST, "-p", "no:django", "-c", os.devnull, str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )

    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr

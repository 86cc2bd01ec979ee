"""An import that the contracts in pyproject.toml forbid is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("asyncengine", "flows", "scripts")


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    command = shutil.which("lint-imports", path=Path(sys.executable).parent)
    assert command, "import-linter is not installed: pip install -e '.[test]'"
    return subprocess.run(
        [command, "--no-cache"], cwd=directory, capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the product's modules, to put imports into."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        only_modules = shutil.ignore_patterns("__pycache__", "static", "templates", "pipes")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=only_modules)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "forbidden", "contract"),
    [
        ("scripts/extensions.py", "import flows.engine", "scripts knows no flows"),
        (
            "scripts/protocol/envelope.py",
            "from django.conf import settings",
            "script hosts and their protocol know no Django",
        ),
        (
            "scripts/host/context.py",
            "import scripts.protocol.added",
            "script hosts and their protocol know no Django",
        ),
        (
            "scripts/pool/lane.py",
            "import scripts.callables.threads",
            "the rooms of scripts are layers",
        ),
        (
            "scripts/examination/examiner.py",
            "def late():\n    import scripts.models",
            "the rooms of scripts are layers",
        ),
        ("flows/plan.py", "import flows.engine", "the rooms of flows are layers"),
        (
            "flows/monitoring/trace.py",
            "from flows import engine",
            "monitoring reads only: it does not call the engine",
        ),
        ("flows/engine.py", "import rest_framework", "Django REST framework stays in the API"),
        (
            "flows/api/start.py",
            "from django_q.tasks import async_task",
            "django-q2 stays with the workers, the tasks and their pages",
        ),
        (
            "flows/admin/runs.py",
            "import django_q.models",
            "of the admin, the pages of django-q2's tasks alone know it",
        ),
        (
            "flows/store/store.py",
            "def late():\n    from asyncengine import settings",
            "asyncengine is wiring: no room of flows or scripts imports it",
        ),
    ],
)
def test_a_forbidden_import_breaks_its_contract(
    copy: Path, module: str, forbidden: str, contract: str
) -> None:
    (copy / "scripts/protocol/added.py").write_text("import django.db\n")
    with (copy / module).open("a") as file:
        file.write(f"\n\n{forbidden}\n")

    done = lint_imports(copy)

    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in done.stdout

"""An import that the contracts in pyproject.toml forbid is found."""

from __future__ import annotations

import re
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


# A module, what is added to it, the contract that it breaks, and the import that is to be found.
FORBIDDEN = [
    (
        "scripts/extensions.py",
        "import flows.engine",
        "scripts knows no flows",
        "scripts.extensions -> flows.engine",
    ),
    (
        "scripts/protocol/envelope.py",
        "from django.conf import settings",
        "script hosts and their protocol know no Django",
        "scripts.protocol.envelope -> django",
    ),
    (
        "scripts/host/context.py",
        "import scripts.protocol.added",
        "script hosts and their protocol know no Django",
        "scripts.host.context -> scripts.protocol.added",
    ),
    (
        "scripts/pool/lane.py",
        "import scripts.callables.threads",
        "the rooms of scripts are layers",
        "scripts.pool.lane -> scripts.callables.threads",
    ),
    (
        "scripts/examination/examiner.py",
        "def late():\n    import scripts.models",
        "the rooms of scripts are layers",
        "scripts.examination.examiner -> scripts.models",
    ),
    (
        "flows/plan.py",
        "import flows.engine",
        "the rooms of flows are layers",
        "flows.plan -> flows.engine",
    ),
    (
        "flows/monitoring/trace.py",
        "from flows import engine",
        "monitoring reads only: it does not call the engine",
        "flows.monitoring.trace -> flows.engine",
    ),
    (
        "flows/engine.py",
        "import rest_framework",
        "Django REST framework stays in the API",
        "flows.engine -> rest_framework",
    ),
    (
        "flows/api/start.py",
        "from django_q.tasks import async_task",
        "django-q2 stays with the workers, the tasks and their pages",
        "flows.api.start -> django_q",
    ),
    (
        "flows/admin/runs.py",
        "import django_q.models",
        "of the admin, the pages of django-q2's tasks alone know it",
        "flows.admin.runs -> django_q",
    ),
    (
        "flows/store/store.py",
        "def late():\n    from asyncengine import settings",
        "asyncengine is wiring: no room of flows or scripts imports it",
        "flows.store.store -> asyncengine.settings",
    ),
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is said of a copy of the product's modules with all these imports."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in PACKAGES:
        only_modules = shutil.ignore_patterns("__pycache__", "static", "templates", "pipes")
        shutil.copytree(ROOT / package, copy / package, ignore=only_modules)
    (copy / "scripts/protocol/added.py").write_text("import django.db\n")
    for module, forbidden, _, _ in FORBIDDEN:
        with (copy / module).open("a") as file:
            file.write(f"\n\n{forbidden}\n")

    done = lint_imports(copy)

    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("module", "forbidden", "contract", "found"), FORBIDDEN)
def test_a_forbidden_import_breaks_its_contract(
    said: str, module: str, forbidden: str, contract: str, found: str
) -> None:
    # The report has a part for each contract, below its name.
    summary, _, report = said.partition("Broken contracts")
    parts = report.split(f"\n{contract}\n---")

    assert f"{contract} BROKEN" in summary
    assert len(parts) == 2, said
    assert f"{found} (l." in re.split(r"\n.+\n---", parts[1])[0]

"""The shell blocks of the READMEs, and why a test does not run some of them.

`tests/acceptance/test_documented_commands.py` runs the blocks of `RUN`, in this order, in one
installation. `tests/unit/test_readmes.py` looks for a block that stands nowhere here.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHELL_BLOCK = re.compile(r"^ *```(?:sh|bash|shell|console)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)

# A page and the first line of a block, or the beginning of it.
Block = tuple[str, str]

TUTORIAL = "flows/demo/README.md"
GUIDES = "flows/documentation/README.md"
OPERATING = "asyncengine/README.md"
MONITORING = "asyncengine/deploy/monitoring/README.md"
PIPES = "flows/pipes/README.md"
TYPINGS = "scripts/typings/README.md"

RUN: tuple[Block, ...] = (
    ("README.md", ".venv/bin/python manage.py start"),
    (TUTORIAL, "mkdir -p invoices/scripts"),
    (TUTORIAL, "asyncengine start invoice --payload '{\"net\": 100}'"),
    (TUTORIAL, "asyncengine start invoice --payload '{\"net\": -100}'"),
    (TUTORIAL, "cat > invoices/scripts/add-tax.py"),
    (GUIDES, "cat > retries.json"),
    (GUIDES, "python manage.py dead_letters list"),
    (GUIDES, "cat > rates.json"),
    (GUIDES, "python manage.py check --database default"),
    (GUIDES, "python manage.py doctor"),
    (GUIDES, "python -c"),
    (GUIDES, "python manage.py migrate"),
    (OPERATING, "python manage.py config export configuration.json"),
    (OPERATING, "python manage.py config export --directory"),
    (MONITORING, "python -c"),
    ("flows/access/README.md", "python manage.py check --deploy"),
)

# The file that runs the block, or its commands.
ELSEWHERE: dict[Block, str] = {
    (
        "README.md",
        "python3 -m venv .venv && .venv/bin/pip install -q -e . ",
    ): "tests/hosts/test_wheel.py",
    ("README.md", 'python3 -m venv .venv && .venv/bin/pip install -q -e ".[test]"'): ".ci/run",
    (TUTORIAL, "python3 -m venv .venv"): "tests/hosts/test_wheel.py",
    (OPERATING, 'umask 077\nmkdir -p "$BACKUP"'): "tests/acceptance/test_backup.py",
    (OPERATING, 'umask 077\nmkdir -p "$NEW"'): "tests/acceptance/test_backup.py",
    (OPERATING, "umask 077\npg_dump --format=custom"): "tests/acceptance/test_backup.py",
    (OPERATING, "pg_restore --no-owner"): "tests/acceptance/test_backup.py",
    (OPERATING, "python manage.py migrate"): "tests/acceptance/test_project.py",
    (MONITORING, "export OTEL_EXPORTER_OTLP_ENDPOINT"): "tests/integration/test_otlp.py",
    ("flows/README.md", "python manage.py archive"): "tests/integration/test_archive.py",
    ("flows/README.md", "python manage.py erase"): "tests/integration/test_erasure.py",
    (MONITORING, "export ASYNCENGINE_TRACES"): "tests/acceptance/test_traces.py",
    ("asyncengine/client/README.md", "pip install"): "tests/acceptance/test_client.py",
    ("flows/api/README.md", "curl -N"): "tests/acceptance/test_events.py",
    (PIPES, 'mvn -q -f "$ENGINE/flows/pipes/java/pom.xml" install'): "tests/pipes/test_tutorial.py",
    (PIPES, "mkdir -p src/main/resources/camel"): "tests/pipes/test_tutorial.py",
    (PIPES, "ASYNCENGINE_PASSWORD"): "tests/pipes/test_tutorial.py",
    (PIPES, "curl -H"): "tests/pipes/test_tutorial.py",
    (PIPES, 'mvn -q -f "$ENGINE/flows/pipes/java-spring-boot'): "tests/pipes/test_pipes.py",
    (TYPINGS, "mypy scripts"): "tests/hosts/test_editor_files.py",
    (TYPINGS, "! npx tsc"): "tests/hosts/test_editor_files.py",
}

GOES_ON = "it goes on until it is stopped; the installation of the tests has such a cluster"
SYNOPSIS = "it stands for many calls; the reference of commands is made of their parsers"
NOT_RUN: dict[Block, str] = {
    (OPERATING, "ASYNCENGINE_WORKERS=8"): GOES_ON,
    (OPERATING, "ASYNCENGINE_BOUND_QUEUES_ONLY=1"): GOES_ON,
    (OPERATING, "ASYNCENGINE_WORKERS=1"): GOES_ON,
    (GUIDES, "python manage.py qcluster"): GOES_ON,
    (
        PIPES,
        'mvn -f "$ENGINE/flows/pipes/java/pom.xml" deploy',
    ): "it sends to a repository of yours",
    ("scripts/trials/README.md", "python manage.py script test NAME --input"): SYNOPSIS,
    ("scripts/trials/README.md", "python manage.py script test NAME --code"): SYNOPSIS,
}


def blocks_of(page: str) -> list[str]:
    return SHELL_BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def code_of(block: Block) -> str:
    """Return a block; the first one that begins so."""
    page, beginning = block
    return next(code for code in blocks_of(page) if code.strip().startswith(beginning))

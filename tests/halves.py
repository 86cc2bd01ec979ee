"""The tests whose outcome depends on the database, once more on PostgreSQL, beside the others.

Where this machine has a server on its path, they run on that one, as it comes and over TCP: people
install such a one. It may compile queries, has other versions and defaults, and is not reached by a
local socket. Without a server on the path they run on the one from the wheel.

What depends less on it runs on PostgreSQL by itself: `python -m tests.on_postgresql --rest`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import psycopg

from tests.databases import installed_postgresql, installed_postgresql_server, postgresql_server

TESTS = Path(__file__).parent
KINDS = ("integration",)
# What these look at is a page, an answer, a document, a text, a right or a script, or what the
# engine decides, and no race, lock, type or plan of the database: their SQL is the ORM's, or tested
# beneath them.
LESS_DEPENDENT = [
    TESTS / "integration" / path
    for path in (
        *("admin", "api", "kit"),
        *(
            f"test_{name}.py"
            for name in (
                *("alerts", "allowed_tasks", "audit_log", "authoring_commands", "branches"),
                *("callable_checks", "callables", "configuration_command"),
                *("configuration_directory", "configuration_export", "configuration_import"),
                *("configuration_libraries", "configuration_tables", "configuration_values"),
                *("dead_branches", "demo", "doctor", "error_classes", "error_codes", "finish"),
                *("flow_schedules", "go", "javascript_flow", "memory", "named_clusters"),
                *("original_import", "otlp", "outputs", "outside", "pace", "public"),
                *("public_address", "public_payloads", "quiet_ends", "script_command"),
                *("script_versions", "secrets", "seeding", "signals", "tables", "task_cache"),
                *("tokens", "trial", "values", "wait_reason", "waiting_scripts", "webhooks"),
                "wsgi",
            )
        ),
    )
]


def is_on_both(path: Path) -> bool:
    """Whether the default run has the tests of a module on PostgreSQL, too."""
    within = any(TESTS / kind in path.parents for kind in KINDS)
    return within and not any(each in (path, *path.parents) for each in LESS_DEPENDENT)


@dataclass(frozen=True)
class Half:
    """What is known of a run of pytest in another process."""

    directory: Path
    kind: str

    @property
    def log(self) -> Path:
        return self.directory / f"{self.kind}.log"

    @property
    def report(self) -> Path:
        return self.directory / f"{self.kind}.xml"

    @property
    def code(self) -> str:
        """Return the exit code, empty while the run goes on."""
        path = self.directory / f"{self.kind}.code"
        return path.read_text().strip() if path.exists() else ""

    def end(self) -> str:
        """Return the last lines that the run printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])

    def failures(self) -> dict[str, str]:
        """Return what went wrong, by the name of the test; nothing where no test came to run."""
        if not self.report.exists():
            return {}
        cases = ElementTree.parse(self.report).iter("testcase")
        return {
            f"{case.get('classname')}::{case.get('name')}": "\n".join(
                part.text or part.get("message") or "" for part in case if _is_failure(part)
            )
            for case in cases
            if any(map(_is_failure, case))
        }


def _is_failure(part: ElementTree.Element) -> bool:
    return part.tag in ("failure", "error")


@contextmanager
def running_halves() -> Iterator[Path]:
    """Start a run of each kind, and yield the directory with what becomes of them."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="halves-")))
        url = stack.enter_context(server())
        for kind in KINDS:
            stack.callback(_stop, _start(Half(directory, kind), url))
        yield directory


@contextmanager
def server(from_wheel: bool = False) -> Iterator[str]:
    """Run PostgreSQL, this machine's own if it may be and there is one, and yield its URL."""
    programs = None if from_wheel else installed_postgresql()
    with installed_postgresql_server(programs) if programs else postgresql_server() as url:
        _wait_for_no_disk(url)
        yield url


def _wait_for_no_disk(url: str) -> None:
    """Commits need not wait for the disk: none of these tests takes the server's power away."""
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("ALTER SYSTEM SET synchronous_commit = off")
        server.execute("SELECT pg_reload_conf()")


def _start(half: Half, url: str) -> subprocess.Popen[bytes]:
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"),
        *(f"--junit-xml={half.report}", f"--basetemp={half.directory / half.kind}"),
        *(f"--ignore={path}" for path in LESS_DEPENDENT),
        str(TESTS / half.kind),
    ]
    environment = os.environ | {"DATABASE_URL": url}
    # More examples are for the run on SQLite.
    environment.pop("HYPOTHESIS_PROFILE", None)
    # The code is there when all of it is written.
    script = '"$@"; echo $? > "$0.new" && mv "$0.new" "$0"'
    with half.log.open("wb") as log:
        return subprocess.Popen(
            ["sh", "-c", script, str(half.log.with_suffix(".code")), *command],
            env=environment,
            cwd=TESTS.parent,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _stop(run: subprocess.Popen[bytes]) -> None:
    """End a run that nothing waits for any more; pytest ends the processes of its tests."""
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGINT)
    try:
        run.wait(60)
    except subprocess.TimeoutExpired:
        # What ended the whole run is to be told, and not that this one goes on.
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()

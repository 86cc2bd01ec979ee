"""A whole installation, started as a user starts it and used from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil
import psycopg

from tests.acceptance.children import command_line, pages_of
from tests.databases import migrated_database
from tests.waiting import PATIENCE, wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "an acceptance password"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Installation:
    # Where its manage.py is, and who its administrator is.
    project = ROOT
    administrator = "admin"

    def __init__(self, database_url: str, directory: Path) -> None:
        self.directory = directory
        self.database_url = database_url
        self.port = free_port()
        self.environment = os.environ | {
            "DATABASE_URL": database_url,
            "ASYNCENGINE_ADMIN_PASSWORD": PASSWORD,
            "ASYNCENGINE_WORKERS": "2",
        }
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}/async",
            auth=(self.administrator, PASSWORD),
            timeout=PATIENCE,
        )
        self.process: subprocess.Popen[bytes] | None = None

    def up(self, *options: str) -> None:
        self.output = self.directory / "up.log"
        with self.output.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", "--port", str(self.port), *options],
                cwd=self.project,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(self.is_ready, 60, "readiness")

    @contextmanager
    def cluster(self, log: Path) -> Iterator[None]:
        """Run a cluster alone, with its log in this file, until it has drained."""
        with log.open("w") as output:
            cluster = subprocess.Popen(
                [sys.executable, "manage.py", "qcluster"],
                cwd=self.project,
                env=self.environment,
                stderr=output,
            )
        try:
            yield
        finally:
            cluster.send_signal(signal.SIGTERM)
            code = cluster.wait(PATIENCE)
        assert code == 0

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output.read_text()
        try:
            return self.http.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        finished = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.project,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
        assert not check or finished.returncode == 0, finished.stderr
        return finished

    def configure(self, document: Any) -> str:
        path = self.directory / "configuration.json"
        path.write_text(json.dumps(document))
        return self.manage("config", "import", str(path)).stdout

    def start(self, flow: str, payload: dict[str, Any]) -> str:
        answer = self.http.post("/api/start", params={"flowName": flow}, json=payload)
        assert answer.status_code == 202, answer.text
        return answer.json()["correlationId"]

    def run(self, correlation_id: str, wait: float = 0) -> dict[str, Any]:
        """Return the run; with `wait` its end is awaited, on a busy machine for longer."""
        deadline = time.monotonic() + max(wait, PATIENCE)
        while True:
            answer = self.http.get(f"/api/runs/{correlation_id}", params={"wait": wait})
            assert answer.status_code == 200, answer.text
            run: dict[str, Any] = answer.json()
            is_over = run["status"] not in {"QUEUED", "RUNNING"}
            if is_over or not wait or time.monotonic() > deadline:
                return run

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with snapshot(self.database_url) as query:
            return query(sql)

    def family(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill_all(self) -> None:
        """Kill every process of the installation, and wait for their end."""
        assert self.process is not None
        dying = [*self.family(), psutil.Process(self.process.pid)]
        for process in dying:
            # Some end with their parent, which has been killed already.
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(dying, PATIENCE)
        self.process.wait(PATIENCE)

    def workers(self) -> list[psutil.Process]:
        """The django-q2 workers that have script hosts."""
        family = self.family()
        return [each for each in family if pages_of(each) and "-I" not in command_line(each)]

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal_number)
        return self.process.wait(PATIENCE)


@contextmanager
def ended(installation: Installation) -> Iterator[Installation]:
    """Stop the installation in the end, if it was started."""
    try:
        yield installation
    finally:
        installation.http.close()
        if installation.process is not None:
            installation.stop()


@contextmanager
def installation_in(directory: Path) -> Iterator[Installation]:
    """Yield an installation on a database of its own, which a test may start."""
    with migrated_database(directory) as url, ended(Installation(url, directory)) as installation:
        yield installation


@contextmanager
def serving(directory: Path, configuration: dict[str, Any]) -> Iterator[Installation]:
    """Run an installation with a configuration, on a database of its own."""
    with installation_in(directory) as installation:
        installation.up("--no-demo")
        installation.configure(configuration)
        yield installation


class Query(Protocol):
    def __call__(self, sql: str, /) -> list[tuple[Any, ...]]: ...


@contextmanager
def snapshot(database_url: str) -> Iterator[Query]:
    """Look into a database past the installation, with one state of it for all queries."""
    if database_url.startswith("sqlite"):
        path = database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as file:
            file.execute("BEGIN")
            yield lambda sql: file.execute(sql).fetchall()
        return
    with closing(psycopg.connect(database_url)) as server:
        server.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        yield lambda sql: server.execute(sql.encode()).fetchall()

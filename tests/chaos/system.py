"""A deployment under faults: a web server and several clusters, each part started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from flows.up.children import web
from tests.acceptance.children import children, command_line
from tests.acceptance.installation import PASSWORD, ROOT, Installation
from tests.chaos.network import OtherHost
from tests.waiting import wait_for

MANAGE = str(ROOT / "manage.py")


class Bearer(httpx.Auth):
    def __init__(self, token: str) -> None:
        self.token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {self.token}"
        yield request


class System(Installation):
    """Keeps its parts alive from the thread that made it, whenever `look_after` is called."""

    def __init__(self, database_url: str, directory: Path, clusters: int = 2) -> None:
        super().__init__(database_url, directory)
        self.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.chaos.settings",
            "PYTHONPATH": str(ROOT),
        }
        self.output = directory / "system.log"
        self.commands: dict[str, Sequence[str]] = {
            "web server": web("127.0.0.1", self.port).command,
            **{f"cluster {n}": [sys.executable, MANAGE, "qcluster"] for n in range(clusters)},
        }
        self.parts: dict[str, subprocess.Popen[bytes]] = {}

    def begin(self, configuration: Any) -> None:
        self.manage("migrate", "-v0")
        self.manage(
            *("shell", "-c"),
            "from django.contrib.auth.models import User;"
            f" User.objects.create_superuser('admin', '', {PASSWORD!r})",
        )
        self.configure(configuration)
        self.look_after()
        wait_for(self.is_ready, 60, "readiness")
        # Passwords are slow on purpose.
        self.http.auth = Bearer(self.token())

    def token(self) -> str:
        answer = self.http.post("/api/auth/token", auth=("admin", PASSWORD))
        assert answer.status_code == 200, answer.text
        return answer.json()["accessToken"]

    def look_after(self) -> None:
        """Start the parts that are not there."""
        for name, command in self.commands.items():
            part = self.parts.get(name)
            if part is None or part.poll() is not None:
                self.parts[name] = self.spawn(command)

    def spawn(self, command: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
        with self.output.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_ready(self) -> bool:
        try:
            return self.http.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Every process of the system by what it is."""
        found: dict[str, list[psutil.Process]] = {}
        for name, part in self.parts.items():
            kind = name.split()[0]
            try:
                root = psutil.Process(part.pid)
                found.setdefault(f"{kind}'s main", []).append(root)
                for process in root.children(recursive=True):
                    found.setdefault(kind_of(process, kind), []).append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def move_to(self, host: OtherHost, *parts: str, database_url: str = "") -> None:
        """Have these parts run on another host; the web server is reached by its door.

        `database_url`: where the database is, seen from there.
        """
        url = f"DATABASE_URL={database_url or self.database_url}"
        for name in parts:
            self.commands[name] = host.command(["env", url, *self.commands[name]])
        if "web server" in parts:
            self.commands["web server"] = host.command(web(host.door, self.port).command)
            self.environment["ASYNCENGINE_ALLOWED_HOSTS"] = host.door
            self.http.base_url = f"http://{host.door}:{self.port}/async"

    def heal(self) -> None:
        """Let everything run that was stopped, and start what is missing."""
        for processes in self.processes().values():
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        self.look_after()

    def start_many(self, flow: str, count: int) -> list[str]:
        """Start runs together, and return their ids."""
        code = (
            "from flows import engine\n"
            f"print(*engine.start_many({flow!r}, [{{'n': 1}}] * {count}), sep='\\n')"
        )
        return self.manage("shell", "--no-imports", "-c", code).stdout.split()

    def end(self) -> None:
        self.heal()
        for part in self.parts.values():
            part.terminate()
        deadline = time.monotonic() + 30
        for part in self.parts.values():
            try:
                part.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                part.kill()
                part.wait()
        self.http.close()

    def log_tail(self, size: int = 6000) -> str:
        return self.output.read_text(errors="replace")[-size:]


def kind_of(process: psutil.Process, part: str) -> str:
    if part == "web":
        return "web worker"
    if "-I" in command_line(process):
        return "zygote" if children(process) or not is_host(process) else "script host"
    return process.name()


def is_host(process: psutil.Process) -> bool:
    """Whether it is a fork of a zygote: its parent has the same command line."""
    try:
        parent = process.parent()
        return parent is not None and "-I" in command_line(parent)
    except psutil.Error:
        return False


def seconds_of_chaos() -> float:
    return float(os.environ.get("CHAOS_SECONDS", "60"))

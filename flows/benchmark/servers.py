"""Web servers on free ports of the loopback interface: ours as `up` runs it, and the bare view."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings
from django.urls import reverse

from flows.benchmark.bare_tables import PREFIX, bare_tables
from flows.benchmark.caller import Caller
from flows.benchmark.family import children_of, families
from flows.benchmark.helper import helpers
from flows.benchmark.waiting import BenchFailed, became_true, wait_until
from flows.benchmark.workbench import Workbench, payload
from flows.processes import command_of
from flows.up.addresses import answers
from flows.up.children import WEB_WORKERS, python_path, web
from flows.up.supervisor import Child, managed

HOST = "127.0.0.1"
# Parts of `manage.py up`: words of their commands.
WEB, CLUSTER = b"flows.up.server", b"qcluster"
BARE_THREADS = 4
START_SECONDS = 60.0
STOP_SECONDS = 30.0
WARM_UP_SECONDS = 1.0
WARM_UP_CONNECTIONS = 16


@dataclass(frozen=True)
class Target:
    """A call that a load repeats, with the status of the answers that count."""

    port: int
    request: str
    status: int = 202

    def load(self, connections: int, seconds: float) -> dict[str, Any]:
        """Call for some seconds; return what came back. Raises BenchFailed where nothing counts."""
        result = self._load(connections, seconds)
        if not result["counted"]:
            raise BenchFailed(f"no answer with {self.status}, but {result['others']}")
        return result

    def warm_up(self) -> None:
        """Call until every process of the server has answered, as far as that is to be known."""
        took: dict[str, Any] = {}

        def answers_came() -> bool:
            took.update(self._load(WARM_UP_CONNECTIONS, WARM_UP_SECONDS))
            return bool(took["counted"])

        if not became_true(answers_came, START_SECONDS):
            raise BenchFailed(f"the web server does not answer with {self.status}: {took}")
        self._load(WARM_UP_CONNECTIONS, WARM_UP_SECONDS)

    def _load(self, connections: int, seconds: float) -> dict[str, Any]:
        call = {
            "host": HOST,
            "port": self.port,
            "request": self.request,
            "status": self.status,
        }
        order = {"call": call, "connections": connections, "seconds": seconds}
        with helpers("flows.benchmark.load", [order], python_path()) as (helper,):
            helper.go()
            result: dict[str, Any] = helper.result()
            return result


@contextmanager
def own_server() -> Iterator[int]:
    """Run the web server as `up` does, and yield its port."""
    port = free_port()
    with running(web(HOST, port), port):
        yield port


@contextmanager
def up(port: int) -> Iterator[Child]:
    """Run `manage.py up`, in a database with a user."""
    command = managed("up", "--no-demo", "--port", str(port))
    child = Child("up", command, output=subprocess.DEVNULL)
    with running(child, port):
        yield child


def part_of(up_pid: int, word: bytes) -> list[int]:
    """Return the processes of a part of `up`."""
    return families(pid for pid in children_of(up_pid) if word in command_of(pid))


@contextmanager
def bare_view() -> Iterator[Target]:
    port = free_port()
    with bare_tables() as prefix, running(bare_server(port, prefix), port):
        yield Target(port, request("/start", {}))


def start_call(port: int, caller: Caller, bench: Workbench) -> Target:
    """Return the start of a run by HTTP, with a token."""
    path = f"{reverse('api:start')}?flowName={bench.name}"
    return Target(port, request(path, {"Authorization": f"Bearer {caller.token}"}))


def bare_server(port: int, prefix: str) -> Child:
    return Child(
        "bare view",
        [
            *(sys.executable, "-m", "granian", "--interface", "wsgi"),
            *("--host", HOST, "--port", str(port)),
            *("--workers", str(WEB_WORKERS), "--blocking-threads", str(BARE_THREADS)),
            *("--http", "1", "--backlog", "2048", "--log-level", "error", "--no-ws"),
            "flows.benchmark.bare_view:application",
        ],
        {"PYTHONPATH": python_path(), PREFIX: prefix},
    )


@contextmanager
def running(child: Child, port: int) -> Iterator[None]:
    """Start a server, and stop it after the block."""
    try:
        child.start()
        wait_until(lambda: answers(HOST, port), seconds=START_SECONDS)
        yield
    finally:
        child.stop()
        child.wait(STOP_SECONDS)


def request(path: str, headers: dict[str, str]) -> str:
    """Return a POST of a payload as it goes over the wire."""
    body = orjson.dumps(payload(1)).decode()
    fields = {
        "Host": allowed_host(settings.ALLOWED_HOSTS),
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **headers,
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", body])


def allowed_host(allowed: list[str]) -> str:
    """Return a host that the installation answers to."""
    if HOST in allowed or "*" in allowed or not allowed:
        return HOST
    return allowed[0].lstrip(".")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port

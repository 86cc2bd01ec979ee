"""The processes that `manage.py up` runs: the web server and the cluster."""

from __future__ import annotations

import os
import sys
from importlib.resources import files

from django.conf import settings

from flows.up.supervisor import END_SECONDS, Child, managed

WEB_WORKERS = 2
# Connections of a worker. An idle one costs little. A health check needs one, too.
WEB_CONNECTIONS = 8_192


def web(host: str, port: int) -> Child:
    return Child(
        "web server",
        [
            *(sys.executable, "-m", "flows.up.server", "--interface", "asginl"),
            *("--host", host, "--port", str(port)),
            *("--workers", str(WEB_WORKERS), "--backpressure", str(WEB_CONNECTIONS)),
            # One connection of HTTP/2 would carry many calls.
            *("--http", "1", "--backlog", "2048"),
            *("--respawn-failed-workers", "--workers-kill-timeout", "5s"),
            *("--log-level", "error", "--no-ws", *log_options()),
            "flows.up.asgi:application",
        ],
        {"PYTHONPATH": python_path(), "ASYNCENGINE_UP_PID": str(os.getpid())},
    )


def log_options() -> list[str]:
    """Have the server's own lines, such as that of a process that was lost, in the same format."""
    if getattr(settings, "LOG_FORMAT", "text") != "json":
        return []
    return ["--log-config", str(files("asyncengine") / "deploy/granian.json")]


def python_path() -> str:
    """Return the caller's own path with the project first, so that the server finds it."""
    own = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([str(settings.BASE_DIR), *([own] if own else [])])


def cluster(workers: int) -> Child:
    # `up` itself has made the checks.
    command = managed("qcluster", "--skip-checks")
    environment = {"ASYNCENGINE_WORKERS": str(workers)}
    return Child("cluster", command, environment, settings.ASYNCENGINE_GRACE_SECONDS + END_SECONDS)

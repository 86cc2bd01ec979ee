"""A pool of script hosts, the calls that it is given, and what comes of them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from tests.waiting import PATIENCE

SITE = CallSite("orders", "price", "to-price", False)
ECHO = "def run(message, context): return message"

AROUND_IMPORTS = """
import json, time
modules = json.codecs.sys.modules
os, gc = modules["os"], modules["gc"]
"""


def program(code: str, timeout_seconds: float = PATIENCE, memory_mb: int = 128) -> Program:
    return Program(1, "pricing", "python", code, timeout_seconds, memory_mb)


def calls(payloads: list[Any]) -> list[Call]:
    return [
        Call(key, f"c-{key}", 1, f"d-{key}", _body(f"c-{key}", payload))
        for key, payload in enumerate(payloads)
    ]


def _body(correlation_id: str, payload: Any) -> bytes:
    return json.dumps({"correlationId": correlation_id, "payload": payload}).encode()


def collect_all(pool: HostPool, seconds: float = PATIENCE) -> dict[Any, Outcome]:
    """Collect until nothing is outstanding; every call has exactly one outcome."""
    outcomes: dict[Any, Outcome] = {}
    deadline = time.monotonic() + seconds
    while pool.outstanding():
        assert time.monotonic() < deadline, f"{pool.outstanding()} calls are still outstanding"
        for outcome in pool.collect(1):
            assert outcome.call.key not in outcomes
            outcomes[outcome.call.key] = outcome
    return outcomes


def payload(outcome: Outcome) -> Any:
    assert outcome.error is None, outcome.error
    assert outcome.output is not None
    return json.loads(outcome.output)["payload"]


def run_all(
    pool: HostPool, code: str, payloads: list[Any], hosts: int = 1, **limits: Any
) -> dict[Any, Outcome]:
    pool.submit(program(code, **limits), SITE, calls(payloads), hosts)
    return collect_all(pool)


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [
        int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()
    ]

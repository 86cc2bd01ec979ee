"""Scripts that go on behind an answer that they have forged: none outlives its time by it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import psutil
import pytest

from scripts.host.sandbox import SCRIPT_UIDS
from scripts.pool.host_pool import HostPool
from scripts.pool.zygote_client import SharedZygote
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.errors import ScriptError, ScriptKilled, ScriptTimedOut
from tests.abuse.attack import Attack
from tests.hosts.zygotes import Zygotes
from tests.waiting import PATIENCE, wait_for

SITE = CallSite("flow", "step", "queue", False)
# Answers its own call, then does as told. The worker takes the call for ended.
FORGED_OUTPUT = """
import struct
forged = json.dumps({"correlationId": "c-1", "payload": os.getpid()}).encode()
head = struct.pack("<QBIIdd", host()._number, 1, len(forged), 0, 0.0, 0.0)
os.write(channel(), head + forged)
"""
# Says that it has not begun its call, once others behind it were taken back.
FORGED_RETURN = """
import struct
while host()._numbers[8] < host()._number: pass
os.write(channel(), struct.pack("<QBIIdd", host()._number, 7, 0, 0, 0.0, 0.0))
while True: pass
"""


@pytest.fixture
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    pool = HostPool()
    zygotes.lend_to(pool)
    yield pool
    pool.close()


def submit(pool: HostPool, code: str, calls: int = 1, seconds: float = 5.0) -> None:
    program = Program(1, "script", "python", Attack("", code).script, seconds, 128)
    body = json.dumps({"correlationId": "c-1", "payload": None}).encode()
    pool.submit(program, SITE, [Call(n, "c-1", 1, "d-1", body) for n in range(calls)], 1)


def collect(pool: HostPool, calls: int) -> list[Outcome]:
    outcomes: list[Outcome] = []
    deadline = time.monotonic() + 120
    while len(outcomes) < calls and time.monotonic() < deadline:
        outcomes += pool.collect(1)
    return outcomes


@pytest.mark.parametrize("go_on", ["while True: pass", "time.sleep(1)\nwhile True: pass"])
def test_host_that_answers_and_computes_on_is_killed_while_the_worker_sleeps(
    pool: HostPool, go_on: str
) -> None:
    submit(pool, f"{FORGED_OUTPUT}\n{go_on}")
    (outcome,) = collect(pool, 1)
    assert outcome.output is not None
    pid = json.loads(outcome.output)["payload"]

    pool.watch_idle_hosts()

    wait_for(lambda: not psutil.pid_exists(pid), 30)


def test_host_that_answers_and_computes_on_is_killed_while_the_worker_works(
    pool: HostPool,
) -> None:
    submit(pool, f"{FORGED_OUTPUT}\nwhile True: pass")
    (outcome,) = collect(pool, 1)
    assert outcome.output is not None
    pid = json.loads(outcome.output)["payload"]

    wait_for(lambda: not (pool.collect(0.1) or psutil.pid_exists(pid)), 30)


def test_host_that_computes_on_is_killed_while_other_workers_keep_the_zygote_busy() -> None:
    shared = SharedZygote(SCRIPT_UIDS if os.geteuid() == 0 else None)
    first, other = HostPool(shared_zygote=shared), HostPool(shared_zygote=shared)
    try:
        submit(other, "return 1")
        collect(other, 1)
        submit(first, f"{FORGED_OUTPUT}\nwhile True: pass")
        (outcome,) = collect(first, 1)
        assert outcome.output is not None
        pid = json.loads(outcome.output)["payload"]

        first.watch_idle_hosts()

        def is_gone_while_the_other_asks() -> bool:
            for host in other._hosts:
                shared_end = other._hosts.zygote
                assert shared_end is not None
                shared_end.watch(host)
                shared_end.stop_watching(host)
            return not psutil.pid_exists(pid)

        wait_for(is_gone_while_the_other_asks, 30)
    finally:
        for pool in (first, other):
            pool.close()
        shared.close()


def test_host_that_rests_is_there_for_the_next_message(pool: HostPool) -> None:
    code = """
    until = time.process_time() + 0.5
    while time.process_time() < until: pass
    return os.getpid()
    """
    submit(pool, code, seconds=PATIENCE)
    (first,) = collect(pool, 1)
    pool.watch_idle_hosts()
    submit(pool, code, seconds=PATIENCE)

    (second,) = collect(pool, 1)

    assert first.output is not None
    assert second.output == first.output


def test_call_that_comes_back_again_and_again_gets_the_error(pool: HostPool) -> None:
    submit(pool, FORGED_RETURN, calls=4, seconds=1.0)

    outcomes = collect(pool, 4)

    errors: list[ScriptError | None] = [outcome.error for outcome in outcomes]
    assert len(errors) == 4
    assert {type(error) for error in errors} <= {ScriptKilled, ScriptTimedOut}

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from django.db import connection

from flows import engine
from flows.models import Run
from tests.builders import ECHO, make_flow, run_of, work_until_idle

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how much is kept is glibc's"),
]

FAN = "def run(message, context):\n    return [{'payload': n} for n in range(20)]\n"
LARGE = "def run(message, context):\n    return {'payload': 'x' * 7_000_000}\n"


def resident_megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(
    connection.vendor == "sqlite", reason="the database of the tests is in this process's memory"
)
def test_a_worker_keeps_nothing_of_large_messages_when_it_is_done():
    small = make_flow("small", codes=[ECHO])
    flow = make_flow("large", codes=[FAN, LARGE, ECHO, ECHO])
    engine.start("small", {})
    work_until_idle(small)
    before = resident_megabytes()
    run = engine.start("large", {}).correlation_id

    work_until_idle(flow)

    assert run_of(run).status == Run.Status.FAILED
    # Of 140 MB, which the worker has had several times.
    assert resident_megabytes() - before < 100

"""Threads that answered many requests at once, and have nothing to do any more."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.front import threads as front_threads
from flows.front.threads import Threads
from tests.no_threads import no_new_threads
from tests.waiting import PATIENCE

# Each of four threads opens a connection and frees what it has allocated, but for the last block,
# which is above the rest.
BUSY_AT_ONCE = """
import asyncio, ctypes, threading
from pathlib import Path
import django
from django.db import connections
from flows.front import threads
django.setup()
connections.close_all()
threads.IDLE_SECONDS = 0.5
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
all_there = threading.Barrier(4)
opened = []

def kb():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))

def work():
    all_there.wait()
    connections["default"].ensure_connection()
    opened.append(connections["default"])
    blocks = [libc.malloc(4_000) for _ in range(1_000)]
    for block in blocks:
        ctypes.memset(block, 1, 4_000)
    for block in blocks[:-1]:
        libc.free(block)

async def scenario():
    pool = threads.Threads(4, "request")
    await asyncio.gather(*(pool.run(work) for _ in range(4)))
    before = kb()
    while threading.active_count() > 2:
        await asyncio.sleep(0.02)
    print(before - kb(), sum(each.connection is not None for each in opened))

asyncio.run(scenario())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone gives memory back when asked")
def test_threads_that_idle_end_with_their_connections_and_memory_but_for_the_first(tmp_path: Path):
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
        "DJANGO_SETTINGS_MODULE": "asyncengine.settings",
    }
    command = [sys.executable, "-c", BUSY_AT_ONCE]

    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    given_back_kb, still_open = map(int, ran.stdout.split())
    assert given_back_kb > 3 * 3_000
    assert still_open == 1


def test_a_thread_takes_a_job_that_comes_as_it_is_about_to_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(front_threads, "IDLE_SECONDS", 0.0001)
    threads = Threads(2, "request")
    both_there = threading.Barrier(2)

    def job() -> int:
        both_there.wait(PATIENCE)
        return 7

    async def ask() -> list[int]:
        return list(await asyncio.gather(threads.run(job), threads.run(job)))

    for _ in range(300):
        assert asyncio.run(ask()) == [7, 7]


def test_a_thread_that_could_not_be_made_takes_the_place_of_no_other() -> None:
    async def scenario() -> int:
        threads = Threads(1, "request")
        with no_new_threads(), pytest.raises(RuntimeError):
            threads.run(int)
        return await asyncio.wait_for(threads.run(lambda: 7), PATIENCE)

    assert asyncio.run(scenario()) == 7

"""How the pool feeds its hosts, which call fails when one dies, and that no process is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from scripts.pool import host_client, host_pool
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Outcome
from scripts.protocol.errors import ScriptKilled, ScriptTimedOut
from tests.hosts.pools import (
    AROUND_IMPORTS,
    ECHO,
    SITE,
    calls,
    children,
    collect_all,
    payload,
    program,
    run_all,
)
from tests.waiting import PATIENCE, wait_for


def begun(pool: HostPool) -> int:
    """Count the hosts that run a call at this moment."""
    return sum(1 for host in pool._hosts if host.page.running)


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


# Groups and hosts


def test_every_call_of_a_large_batch_is_answered(pool: HostPool) -> None:
    outcomes = run_all(pool, ECHO, list(range(5000)), hosts=4)

    assert [payload(outcomes[key]) for key in range(5000)] == list(range(5000))


def test_large_batches_of_big_bodies_do_not_deadlock(pool: HostPool) -> None:
    bodies = ["x" * 300_000] * 100

    outcomes = run_all(pool, ECHO, bodies, hosts=2)

    assert sum(len(payload(outcome)) for outcome in outcomes.values()) == 30_000_000


def test_worker_that_is_busy_elsewhere_does_not_run_into_time_limits(pool: HostPool) -> None:
    pool.submit(program(ECHO, timeout_seconds=2), SITE, calls(["x" * 100_000] * 40), 1)
    outcomes = pool.collect(20)

    time.sleep(3)  # in which the host waits for the pipe to be emptied
    while pool.outstanding():
        outcomes += pool.collect(5)

    assert [outcome.error for outcome in outcomes] == [None] * 40


def test_fast_script_uses_one_host_though_it_may_use_more(
    pool: HostPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine even a fast call looks stuck, or slow, after the usual time.
    monkeypatch.setattr(host_client, "STUCK_SECONDS", PATIENCE)
    monkeypatch.setattr(host_client, "GROUP_SECONDS", PATIENCE * 400)
    code = f"{AROUND_IMPORTS}\ndef run(m, c): return m | {{'payload': os.getpid()}}"
    warm_up = run_all(pool, code, [0] * 20, hosts=8)

    outcomes = run_all(pool, code, [0] * 400, hosts=8)

    assert len({payload(outcome) for outcome in warm_up.values()}) <= 2
    assert len({payload(outcome) for outcome in outcomes.values()}) <= 2


def test_hosts_that_are_kept_from_beginning_their_calls_forge_nothing(
    pool: HostPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a machine that is so busy that a host has not begun a call whenever it is looked at.
    for module in (host_client, host_pool):
        monkeypatch.setattr(module, "STUCK_SECONDS", 0.0)

    outcomes = run_all(pool, ECHO, list(range(3000)), hosts=4)

    assert [payload(outcomes[key]) for key in range(3000)] == list(range(3000))


def test_slow_calls_run_side_by_side(pool: HostPool) -> None:
    code = "import time\ndef run(m, c):\n    time.sleep(600)\n    return m"

    pool.submit(program(code, timeout_seconds=600), SITE, calls([0] * 20), 20)
    wait_for(lambda: pool.collect(0.1) == [] and begun(pool) == 20)
    pool.cancel(set(range(20)))
    outcomes = collect_all(pool)

    assert len(outcomes) == 20
    assert not any(outcome.error is None for outcome in outcomes.values())


def test_a_step_never_has_more_hosts_than_threads(pool: HostPool) -> None:
    code = "import time\ndef run(m, c):\n    time.sleep(0.05)\n    return m"

    outcomes = run_all(pool, code, list(range(12)), hosts=3)

    moments = [(o.started_at, 1) for o in outcomes.values()]
    moments += [(o.finished_at, -1) for o in outcomes.values()]
    running = [sum(change for _, change in sorted(moments)[: n + 1]) for n in range(len(moments))]
    assert max(running) == 3


def test_a_step_with_fewer_threads_than_before_has_fewer_hosts_though_calls_wait(
    pool: HostPool,
) -> None:
    code = "import time\ndef run(m, c):\n    time.sleep(0.05)\n    return m"
    slow = program(code, timeout_seconds=600)
    pool.submit(slow, SITE, calls([0] * 12), 4)
    while len(outcomes := pool.collect(1)) == 0:
        pass

    pool.submit(slow, SITE, [replace(call, key=call.key + 12) for call in calls([0] * 12)], 1)
    reduced_at = time.time()
    while pool.outstanding():
        outcomes += pool.collect(1)

    begun = sorted((o.started_at, o.finished_at) for o in outcomes if o.started_at > reduced_at)
    # Each host may have one that was on its way to it.
    later = begun[4:]
    assert len(outcomes) == 24
    assert len(later) > 5
    assert all(one[1] <= next[0] for one, next in pairwise(later))


def test_calls_behind_a_slow_one_go_to_another_host(pool: HostPool) -> None:
    code = "import time\ndef run(m, c):\n    time.sleep(m['payload'])\n    return m"
    run_all(pool, code, [0] * 200, timeout_seconds=600)

    slow = program(code, timeout_seconds=600)
    pool.submit(slow, SITE, calls([0] * 10 + [600] + [0] * 100), 2)
    outcomes: list[Outcome] = []
    while len(outcomes) < 110:
        outcomes += pool.collect(1)
    pool.cancel({10})

    assert {outcome.call.key for outcome in outcomes} == set(range(111)) - {10}
    assert list(collect_all(pool)) == [10]


def test_hosts_stay_warm_between_uses(pool: HostPool) -> None:
    code = f"{AROUND_IMPORTS}\ndef run(m, c): return m | {{'payload': os.getpid()}}"

    first, second = run_all(pool, code, [0]), run_all(pool, code, [0])

    assert payload(first[0]) == payload(second[0])


def test_programs_do_not_share_hosts(pool: HostPool) -> None:
    code = f"{AROUND_IMPORTS}\ndef run(m, c): return m | {{'payload': os.getpid()}}"

    first, second = run_all(pool, code, [0]), run_all(pool, code + "\n", [0])

    assert payload(first[0]) != payload(second[0])


def test_long_groups_report_progress(pool: HostPool) -> None:
    code = "import time\ndef run(m, c):\n    time.sleep(m['payload'])\n    return m"
    run_all(pool, code, [0.001] * 5)

    pool.submit(program(code, timeout_seconds=600), SITE, calls([0.001, 600, 600]), 1)

    assert [outcome.call.key for outcome in pool.collect(PATIENCE)] == [0]


def test_run_time_is_measured(pool: HostPool) -> None:
    slow = program("import time\ndef run(m, c):\n    time.sleep(0.02)\n    return m")
    unknown = pool.seconds_per_call(slow)

    pool.submit(slow, SITE, calls([0] * 3), 1)
    collect_all(pool)

    assert unknown is None
    assert pool.seconds_per_call(slow) > 0.019


def test_collect_with_nothing_outstanding_returns_at_once(pool: HostPool) -> None:
    # Longer than the test may take.
    assert pool.collect(3600) == []


def test_collect_waits_no_longer_than_its_timeout(pool: HostPool) -> None:
    code = "import time\ndef run(m, c): time.sleep(600)"
    pool.submit(program(code, timeout_seconds=600), SITE, calls([0]), 1)
    began = time.monotonic()

    assert pool.collect(0.2) == []
    assert time.monotonic() - began > 0.19


# Time limits


@pytest.mark.parametrize(
    "statement",
    [
        "while True: pass",
        "sum(range(10 ** 12))",
        "re.match('(a+)+$', 'a' * 60 + 'b')",
        "time.sleep(100)",
        "swallow()",
    ],
)
def test_time_limit_holds_whatever_a_script_does(
    pool: HostPool, time_to_tell: None, statement: str
) -> None:
    code = f"""
import re, time
def swallow():
    while True:
        try:
            while True: pass
        except BaseException: pass
def run(message, context):
    if message["payload"]:
        {statement}
    return message
"""
    # The others have it, too.
    limit = 1.0
    run_all(pool, code, [0], timeout_seconds=limit)

    outcomes = run_all(pool, code, [0, 0, 1, 0, 0], timeout_seconds=limit)

    error = outcomes[2].error
    assert isinstance(error, ScriptTimedOut)
    assert error.limit_seconds == limit
    assert str(error).startswith(
        "The script ran longer than its time limit of 1 s. It was at line "
    )
    assert outcomes[2].finished_at - outcomes[2].started_at >= limit
    assert [outcomes[key].error for key in (0, 1, 3, 4)] == [None] * 4


def test_endless_module_body_meets_the_time_limit(pool: HostPool) -> None:
    outcomes = run_all(pool, "while True: pass", [0], timeout_seconds=0.3)

    assert isinstance(outcomes[0].error, ScriptTimedOut)


@pytest.mark.parametrize(
    "forgery",
    [
        "host._numbers[1] = 0",
        "host._numbers[1] = 2 ** 63",
        "host._numbers[1] = time.monotonic_ns()",
        "host._times[0] = 0.0",
        "host._times[0] = float('nan')",
        "host._times[0] = 1e300",
    ],
)
def test_forging_the_shared_page_does_not_put_the_time_limit_off(
    pool: HostPool, forgery: str
) -> None:
    code = f"""{AROUND_IMPORTS}
def run(message, context):
    frame = json.codecs.sys._getframe()
    while "self" not in frame.f_locals or not hasattr(frame.f_locals["self"], "_numbers"):
        frame = frame.f_back
    host = frame.f_locals["self"]
    while True:
        {forgery}
"""
    outcomes = run_all(pool, code, [0], timeout_seconds=0.3)

    assert isinstance(outcomes[0].error, ScriptTimedOut)


# Cancelling


def test_cancel_withdraws_what_waits_and_kills_what_runs(pool: HostPool) -> None:
    code = "import time\ndef run(m, c):\n    time.sleep(m['payload'])\n    return m"
    pool.submit(program(code, timeout_seconds=600), SITE, calls([600] * 5), 2)
    wait_for(lambda: pool.collect(0.1) == [] and begun(pool) == 2)

    withdrawn = pool.cancel({0, 1, 2, 3})
    outcomes: dict[Any, Outcome] = {}
    wait_for(
        lambda: outcomes.update((o.call.key, o) for o in pool.collect(0.1)) or len(outcomes) == 2
    )

    assert [call.key for call in withdrawn] == [2, 3]
    assert set(outcomes) == {0, 1}
    assert all(isinstance(outcome.error, ScriptKilled) for outcome in outcomes.values())
    assert str(outcomes[0].error) == "cancelled"
    assert pool.outstanding() == 1


def test_cancel_takes_back_the_calls_on_their_way_to_a_host(pool: HostPool) -> None:
    code = "import time\ndef run(m, c):\n    time.sleep(m['payload'])\n    return m"
    run_all(pool, code, [0] * 200)
    pool.submit(program(code), SITE, calls([60] + [0] * 100), 1)

    withdrawn = pool.cancel(set(range(101)))
    outcomes = collect_all(pool)

    assert {call.key for call in withdrawn} | set(outcomes) == set(range(101))
    assert len(withdrawn) >= 100
    assert len(withdrawn) + len(outcomes) == 101


def test_cancel_of_others_leaves_a_running_call_alone(pool: HostPool) -> None:
    code = "import time\ndef run(m, c):\n    time.sleep(m['payload'])\n    return m"
    run_all(pool, code, [0] * 200)
    pool.submit(program(code), SITE, calls([0.2] + [0] * 100), 1)
    pool.collect(0.005)

    withdrawn = pool.cancel({7, 99})
    outcomes = collect_all(pool)

    assert sorted(call.key for call in withdrawn) == [7, 99]
    assert set(outcomes) == set(range(101)) - {7, 99}
    assert all(outcome.error is None for outcome in outcomes.values())


# Leaving nothing behind


def test_close_leaves_no_process_and_no_zombie() -> None:
    before = children(os.getpid())
    pool = HostPool()
    pool.submit(program("while True: pass"), SITE, calls([0] * 3), 3)
    (zygote,) = set(children(os.getpid())) - set(before)
    wait_for(lambda: pool.collect(0.1) == [] and len(children(zygote)) == 3)
    hosts = children(zygote)

    pool.close()

    assert hosts
    # A process of an earlier test may end meanwhile.
    assert set(children(os.getpid())) <= set(before)
    assert not any(is_alive(pid) for pid in [zygote, *hosts])


def test_pool_can_be_used_again_after_close(pool: HostPool) -> None:
    run_all(pool, ECHO, [0])
    pool.close()

    assert payload(run_all(pool, ECHO, [1])[0]) == 1


PARENT = """
import time
from scripts.pool.host_pool import Call, CallSite, HostPool, Program

pool = HostPool()
code = "while True: pass"
calls = [Call(n, "c", 1, "d", b'{"correlationId":"c","payload":1}') for n in range(3)]
program = Program(1, "endless", "python", code, 600, 64)
pool.submit(program, CallSite("f", "s", "q", False), calls, 3)
print("ready", flush=True)
while True:
    pool.collect(1)
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def family(parent: subprocess.Popen[str]) -> tuple[int, list[int]]:
    """Return the zygote and the three hosts, once they are there."""
    (zygote,) = children(parent.pid)
    wait_for(lambda: len(children(zygote)) == 3)
    return zygote, children(zygote)


def test_worker_killed_hard_leaves_no_zygote_and_no_host(parent: subprocess.Popen[str]) -> None:
    zygote, hosts = family(parent)

    parent.send_signal(signal.SIGKILL)
    parent.wait()

    wait_for(lambda: not any(is_running(pid) for pid in [zygote, *hosts]))
    assert len(hosts) == 3


def is_running(pid: int) -> bool:
    """Tell a process from none and from a zombie that waits for init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_for_the_worker_do_not_reach_scripts(
    parent: subprocess.Popen[str], number: signal.Signals
) -> None:
    zygote, hosts = family(parent)

    for pid in [zygote, *hosts]:
        os.kill(pid, number)

    time.sleep(0.1)  # nothing is to happen
    assert all(is_running(pid) for pid in [zygote, *hosts])

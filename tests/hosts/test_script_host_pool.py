"""How the pool feeds its hosts, which call fails when one dies, and that no process is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.pool import host_client
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Outcome
from scripts.protocol.errors import OutputInvalid, ScriptKilled, ScriptOutOfMemory, ScriptTimedOut
from tests.hosts.pools import AROUND_IMPORTS, SITE, calls, collect_all, payload, program
from tests.waiting import PATIENCE, wait_for

ECHO = "def run(message, context): return message"


@pytest.fixture
def pool() -> Iterator[HostPool]:
    pool = HostPool()
    yield pool
    pool.close()


def run_all(
    pool: HostPool, code: str, payloads: list[Any], hosts: int = 1, **limits: Any
) -> dict[Any, Outcome]:
    pool.submit(program(code, **limits), SITE, calls(payloads), hosts)
    return collect_all(pool)


def begun(pool: HostPool) -> int:
    """Count the hosts that run a call at this moment."""
    return sum(1 for host in pool._hosts if host.page.running)


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [
        int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()
    ]


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
    pool.submit(program(ECHO, timeout_seconds=0.3), SITE, calls(["x" * 100_000] * 40), 1)
    outcomes = pool.collect(20)

    time.sleep(1.5)  # in which the host waits for the pipe to be emptied
    while pool.outstanding():
        outcomes += pool.collect(5)

    assert [outcome.error for outcome in outcomes] == [None] * 40


def test_fast_script_uses_one_host_though_it_may_use_more(
    pool: HostPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine even a fast call looks stuck after the usual time.
    monkeypatch.setattr(host_client, "STUCK_SECONDS", PATIENCE)
    code = f"{AROUND_IMPORTS}\ndef run(m, c): return m | {{'payload': os.getpid()}}"
    warm_up = run_all(pool, code, [0] * 20, hosts=8)

    outcomes = run_all(pool, code, [0] * 400, hosts=8)

    assert len({payload(outcome) for outcome in warm_up.values()}) <= 2
    assert len({payload(outcome) for outcome in outcomes.values()}) <= 2


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
def test_time_limit_holds_whatever_a_script_does(pool: HostPool, statement: str) -> None:
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
    run_all(pool, code, [0], timeout_seconds=0.5)

    outcomes = run_all(pool, code, [0, 0, 1, 0, 0], timeout_seconds=0.5)

    error = outcomes[2].error
    assert isinstance(error, ScriptTimedOut)
    assert error.limit_seconds == 0.5
    assert str(error) == "The script ran longer than its time limit of 0.5 s."
    assert outcomes[2].finished_at - outcomes[2].started_at == pytest.approx(0.6, abs=0.11)
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


# Deaths


@pytest.mark.parametrize(
    ("statement", "expected_signal", "exit_code", "words"),
    [
        ("os._exit(7)", None, 7, "exit code 7"),
        ("os.kill(os.getpid(), 9)", 9, None, "signal 9 (SIGKILL)"),
        ("os.abort()", 6, None, "signal 6 (SIGABRT)"),
    ],
)
def test_the_call_that_ends_its_host_gets_the_error_and_no_other(
    pool: HostPool, statement: str, expected_signal: int | None, exit_code: int | None, words: str
) -> None:
    code = f"{AROUND_IMPORTS}\ndef run(m, c):\n    if m['payload']: {statement}\n    return m"
    run_all(pool, code, [0] * 50)

    outcomes = run_all(pool, code, [0] * 100 + [1] + [0] * 100)

    error = outcomes.pop(100).error
    assert isinstance(error, ScriptKilled)
    assert (error.signal, error.exit_code, error.memory) == (expected_signal, exit_code, False)
    assert words in str(error)
    assert [outcome.error for outcome in outcomes.values()] == [None] * 200


def test_calls_finished_before_the_failed_one_are_not_run_again(pool: HostPool) -> None:
    code = f"""{AROUND_IMPORTS}
def run(message, context):
    if message["payload"]: os._exit(1)
    return message | {{"payload": os.getpid()}}
"""
    host = payload(run_all(pool, code, [0] * 50)[0])

    outcomes = run_all(pool, code, [0] * 20 + [1] + [0] * 20)

    assert {payload(outcomes[key]) for key in range(20)} == {host}
    assert host not in {payload(outcomes[key]) for key in range(21, 41)}


def test_host_killed_from_outside_while_idle_costs_nothing(pool: HostPool) -> None:
    code = f"{AROUND_IMPORTS}\ndef run(m, c): return m | {{'payload': os.getpid()}}"
    victim = payload(run_all(pool, code, [0])[0])

    os.kill(victim, signal.SIGKILL)
    outcomes = run_all(pool, code, [0])

    assert payload(outcomes[0]) != victim


def test_zygote_killed_from_outside_costs_nothing(pool: HostPool) -> None:
    slow = "import time\ndef run(m, c):\n    time.sleep(0.3)\n    return m"
    before = children(os.getpid())
    pool.submit(program(slow), SITE, calls([1, 2, 3]), 3)
    assert pool.collect(0.1) == []
    (zygote,) = set(children(os.getpid())) - set(before)

    os.kill(zygote, signal.SIGKILL)
    outcomes = collect_all(pool)

    assert [payload(outcomes[key]) for key in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    "answer",
    [
        "b'x' * 100",
        "bytes(33)",
        "struct.pack('<QBIIdd', 5, 1, 0, 0, 0.0, 0.0)",
        "struct.pack('<QBIIdd', 1, 1, 2 ** 31, 0, 0.0, 0.0)",
        "struct.pack('<QBIIdd', 1, 99, 0, 0, 0.0, 0.0)",
        "struct.pack('<QBIIdd', 1, 2, 0, 4, 0.0, 0.0) + b'null'",
        "struct.pack('<QBIIdd', 1, 3, 0, 61, 0.0, 0.0) + "
        'b\'{"error":{"message":"m","x":[]},"warning":null,"logs":"cut"}  \'',
        "struct.pack('<QBIIdd', 1, 3, 0, 66, 0.0, 0.0) + "
        'b\'{"error":{"message":"m","after":"soon"},"warning":null,"logs":[]}  \'',
    ],
)
def test_host_that_breaks_the_protocol_is_killed(pool: HostPool, answer: str) -> None:
    code = f"""{AROUND_IMPORTS}
import struct
def run(message, context):
    for descriptor in range(3, 100):
        try:
            os.write(descriptor, {answer})
        except OSError:
            pass
    while True: pass
"""
    outcomes = run_all(pool, code, [0], timeout_seconds=10)

    assert isinstance(outcomes[0].error, ScriptKilled)
    assert str(outcomes[0].error).startswith("protocol")


@pytest.mark.parametrize(
    "output",
    [b"", b"{x}", b"NaN", b"[1] [2]", b'"\xff"', b'"\0"', b'"\\ud800"', b"1" * 5000 + b"x"],
)
def test_output_that_is_not_json_is_the_error_of_its_call_alone(
    pool: HostPool, output: bytes
) -> None:
    code = f"""{AROUND_IMPORTS}
import struct
def run(message, context):
    if message["payload"]:
        frame = json.codecs.sys._getframe()
        while "self" not in frame.f_locals or not hasattr(frame.f_locals["self"], "_numbers"):
            frame = frame.f_back
        host = frame.f_locals["self"]
        host._flush()
        head = struct.pack("<QBIIdd", host._number, 1, {len(output)}, 0, 0.0, 0.0)
        host._channel.write(head + {output!r})
    return message
"""
    run_all(pool, code, [0] * 50)

    outcomes = run_all(pool, code, [0] * 100 + [1] + [0] * 100)

    error = outcomes.pop(100).error
    assert isinstance(error, ScriptKilled)
    assert str(error).startswith("protocol")
    assert [payload(outcome) for outcome in outcomes.values()] == [0] * 200


def test_wrong_answers_among_fast_calls_are_errors_of_the_calls_that_wrote_them(
    pool: HostPool,
) -> None:
    code = f"""{AROUND_IMPORTS}
def run(message, context):
    for descriptor in range(3, 100 if message["payload"] else 3):
        try:
            os.write(descriptor, b"x" * 100)
            break
        except OSError:
            pass
    return message
"""
    run_all(pool, code, [0] * 50)

    outcomes = run_all(pool, code, [0] * 100 + [1] + [0] * 100 + [1] + [0] * 100)

    failed = {key for key, outcome in outcomes.items() if outcome.error is not None}
    assert failed == {100, 201}
    assert {str(outcomes[key].error) for key in failed} == {
        "protocol: the host's answer made no sense"
    }


def test_a_call_that_closes_its_pipe_gets_the_error(pool: HostPool) -> None:
    code = f"{AROUND_IMPORTS}\ndef run(m, c):\n    os.closerange(0, 99)\n    while True: pass"

    outcomes = run_all(pool, code, [0], timeout_seconds=10)

    assert isinstance(outcomes[0].error, ScriptKilled)


def test_exhausted_memory_is_the_error_of_the_call_that_took_it(pool: HostPool) -> None:
    code = "def run(m, c):\n    x = 'x' * m['payload']\n    return m"

    outcomes = run_all(pool, code, [1, 2, 10**9, 3, 10**9, 4])

    assert [type(outcomes[key].error) for key in range(6)] == [
        type(None),
        type(None),
        ScriptOutOfMemory,
        type(None),
        ScriptOutOfMemory,
        type(None),
    ]


def test_a_host_that_dies_with_its_memory_full_is_said_to_have_died_of_that(
    pool: HostPool,
) -> None:
    code = f"{AROUND_IMPORTS}\ndef run(m, c):\n    x = 'x' * 120_000_000\n    os.abort()"

    error = run_all(pool, code, [0])[0].error

    assert isinstance(error, ScriptKilled)
    assert error.memory
    assert 110 < error.peak_bytes / 2**20 < 128
    assert "ran out of memory after it had taken 11" in str(error)


def test_ended_hosts_tell_how_much_memory_they_took(pool: HostPool) -> None:
    run_all(pool, ECHO, [0])
    pool.end_idle_hosts()
    little = pool.peak_bytes

    run_all(pool, "def run(m, c):\n    'x' * 50_000_000\n    return m", [0])
    pool.end_idle_hosts()

    assert 0 < little < 12_000_000
    assert 49_000_000 < pool.peak_bytes - little < 52_000_000


def test_many_calls_that_exhaust_memory_each_get_the_error_once(pool: HostPool) -> None:
    outcomes = run_all(pool, "def run(m, c): 'x' * 10**9", [0] * 12, hosts=2)

    assert {type(outcome.error) for outcome in outcomes.values()} == {ScriptOutOfMemory}


def test_invalid_outputs_leave_the_host_alive(pool: HostPool) -> None:
    code = f"""{AROUND_IMPORTS}
def run(message, context):
    return {{1: 2}} if message["payload"] else message | {{"payload": os.getpid()}}
"""
    outcomes = run_all(pool, code, [0, 1, 0])

    assert isinstance(outcomes[1].error, OutputInvalid)
    assert payload(outcomes[0]) == payload(outcomes[2])


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
    assert children(os.getpid()) == before
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
    root = Path(__file__).parents[2]
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

"""Hosts that die: which call gets the error, and that the others run again."""

import os
import signal

import pytest

from scripts.pool.attribution import FailureAttribution
from scripts.pool.group import Group
from scripts.pool.host_client import HostClient
from scripts.pool.host_pool import HostPool
from scripts.protocol.errors import OutputInvalid, ScriptKilled, ScriptOutOfMemory
from tests.hosts.pools import (
    AROUND_IMPORTS,
    ECHO,
    SITE,
    calls,
    collect_all,
    payload,
    program,
    run_all,
)
from tests.waiting import PATIENCE


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


@pytest.mark.long
def test_zygote_killed_from_outside_costs_nothing(pool: HostPool) -> None:
    slow = "import time\ndef run(m, c):\n    time.sleep(0.3)\n    return m"
    assert pool._hosts.zygote is not None
    zygote = pool._hosts.zygote._process.pid
    pool.submit(program(slow), SITE, calls([1, 2, 3]), 3)
    assert pool.collect(0.1) == []

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
    outcomes = run_all(pool, code, [0], timeout_seconds=PATIENCE)

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

    outcomes = run_all(pool, code, [0], timeout_seconds=PATIENCE)

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

    errors = [outcome.error for outcome in outcomes.values()]
    assert {type(error) for error in errors} == {ScriptOutOfMemory}, [*map(repr, errors)]


def test_a_host_whose_memory_is_exhausted_gets_no_more_calls(pool: HostPool) -> None:
    code = "def run(m, c):\n    'x' * m['payload']\n    return m"
    assert payload(run_all(pool, code, [1])[0]) == 1
    assert pool._hosts.zygote is not None
    zygote = pool._hosts.zygote._process.pid

    # So the pool cannot learn that the host has ended.
    os.kill(zygote, signal.SIGSTOP)
    try:
        greedy = run_all(pool, code, [10**9])[0]
        pool.submit(program(code), SITE, calls([2, 3]), 1)
        taken = [host.in_flight for host in pool._hosts]
    finally:
        os.kill(zygote, signal.SIGCONT)

    assert isinstance(greedy.error, ScriptOutOfMemory)
    assert taken == [0]
    assert [payload(outcome) for outcome in collect_all(pool).values()] == [2, 3]


def test_calls_that_hosts_with_exhausted_memory_leave_are_never_blamed(pool: HostPool) -> None:
    host = HostClient(1, program(ECHO), pool._selector, lambda *_: None)
    host.send(Group(SITE, calls([1]), first=1))
    attribution = FailureAttribution()

    host.is_worn_out = True
    found = [attribution.failed_call(host, status=0) for _ in range(10)]
    host.is_worn_out = False
    others = [attribution.failed_call(host, status=0) for _ in range(10)]
    host.close()

    assert found == [None] * 10
    assert others == [None] * 2 + [1] * 8


def test_invalid_outputs_leave_the_host_alive(pool: HostPool) -> None:
    code = f"""{AROUND_IMPORTS}
def run(message, context):
    return {{1: 2}} if message["payload"] else message | {{"payload": os.getpid()}}
"""
    outcomes = run_all(pool, code, [0, 1, 0])

    assert isinstance(outcomes[1].error, OutputInvalid)
    assert payload(outcomes[0]) == payload(outcomes[2])

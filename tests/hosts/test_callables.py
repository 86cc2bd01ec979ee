"""Callables: which functions may be scripts, and what the threads of a worker make of them."""

import re
import time
from collections import Counter
from typing import Any

import pytest

from scripts.callables.threads import CallableThreads
from scripts.checks import modules_of_callables_are_there
from scripts.dotted_path import callable_fault
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Program
from scripts.protocol.errors import (
    InputInvalid,
    OutputInvalid,
    ScriptInvalid,
    ScriptKilled,
    ScriptRaised,
    ScriptRejected,
    ScriptRetry,
    ScriptTimedOut,
)
from tests.no_threads import no_new_threads
from tests.waiting import PATIENCE, wait_for

HERE = "tests.hosts.test_callables"
MESSAGE = b'{"correlationId":"c","payload":{"n":12345678901234567890}}'
running: Counter = Counter()
most: Counter = Counter()


@pytest.fixture(autouse=True)
def allowed(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = [HERE, "tests.callables"]


@pytest.fixture
def pool():
    pool = HostPool(callables=CallableThreads)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("tests.callables.trail", ""),
        (" tests.callables.trail\n", ""),
        ("", "dotted path"),
        ("trail", "dotted path"),
        ("tests.callables.trail()", "dotted path"),
        ("tests.callables.absent", "has no function 'absent'"),
        ("tests.callables.absent.trail", "cannot be imported: ModuleNotFoundError"),
        ("tests.callables.hooks", "is no function"),
        ("tests.callables.Note", "is no function"),
        ("tests.callables.double", ""),
        ("tests.callables.remembered", ""),
        ("tests.callables.add_one", "an object of functools.partial, not a function: write a"),
        ("tests.callables.run_nothing", "an object of functools.partial, not a function"),
        ("tests.callables.payload_of", "an object of operator.itemgetter, not a function"),
        ("tests.callables.later", "not an async one"),
        ("tests.callables.takes_one", "must take (message, context)"),
        # Imported there, from a module that is not allowed.
        ("tests.callables.run_command", "module subprocess is not allowed"),
        ("tests.callables.connection.close", "cannot be imported"),
        ("os.system", "module os is not allowed"),
        ("tests.callables_of_others.trail", "is not allowed"),
    ],
)
def test_only_functions_of_allowed_modules_can_be_scripts(path, fault):
    found = callable_fault(path)

    assert fault in found
    assert bool(fault) == bool(found)


def test_callables_are_off_unless_a_module_is_allowed(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = []

    assert "Callables are off" in callable_fault("tests.callables.trail")


def test_a_module_that_is_not_there_is_named_by_a_check(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.callables", "tests.calables", "tests.", "*"]

    names = [warning.msg.split()[2].strip(",") for warning in modules_of_callables_are_there()]

    assert names == ["tests.calables", "tests.", "*"]


# --- functions ------------------------------------------------------------------------------------


def echo(message, context):
    context.log(f"{context.flow} {context.step} {context.queue} {context.attempt}", "warning")
    return message


def bare(message, context):
    return {"payload": message["payload"]}


def nothing(message, context):
    pass


def nan(message, context):
    message["payload"]["n"] = float("nan")
    return message


def fails(message, context):
    return context.absent


def asks_for_time(message, context):
    from scripts.callables import Retry

    raise Retry(after=5, reason="busy")


def rejects(message, context):
    from scripts.callables import Reject

    raise Reject("no")


def doubles(message, context):
    giant: list[Any] = [1]
    for _ in range(40):
        giant = [giant, giant]
    return message | {"payload": giant}


def rejects_giant(message, context):
    from scripts.callables import Reject

    raise Reject("no", details=doubles(message, context))


def leaves(message, context):
    raise SystemExit(3)


def spins(message, context):
    while True:
        pass


def sleeps(message, context):
    step = context.step
    running[step] += 1
    most[step] = max(most[step], running[step])
    time.sleep(0.02)
    running[step] -= 1
    return message


def program(name, seconds=5.0, **options):
    return Program(hash(name) % 1000, name, "callable", f"{HERE}.{name}", seconds, 64, **options)


def site(step="step", is_last=False):
    return CallSite("flow", step, "queue", is_last)


def submit(pool, name, count=1, *, threads=1, seconds=5.0, step="step", key="", **options):
    calls = [Call((key or name, n), "c", 1, f"c/{n}", MESSAGE) for n in range(count)]
    pool.submit(program(name, seconds, **options), site(step), calls, threads)


def collect(pool):
    outcomes, until = [], time.monotonic() + PATIENCE
    while pool.outstanding() and time.monotonic() < until:
        outcomes += pool.collect(1.0)
    assert not pool.outstanding()
    return outcomes


# --- what comes of them ---------------------------------------------------------------------------


def test_callables_run_after_no_thread_could_be_made_for_them(pool):
    with no_new_threads(), pytest.raises(RuntimeError):
        submit(pool, "echo")
    withdrawn = pool.withdraw({("echo", 0)})

    submit(pool, "echo")
    (outcome,) = collect(pool)

    assert [call.key for call in withdrawn] == [("echo", 0)]
    assert outcome.output == MESSAGE


def test_a_callable_has_the_message_and_the_context_that_scripts_have(pool):
    submit(pool, "echo")
    (outcome,) = collect(pool)

    assert outcome.error is None
    assert outcome.output == MESSAGE
    assert [(line["level"], line["text"]) for line in outcome.logs] == [
        ("warning", "flow step queue 1")
    ]
    assert outcome.started_at <= outcome.finished_at
    assert pool.seconds_per_call(program("echo")) is not None


def test_numbers_that_it_leaves_alone_go_out_as_they_came(pool):
    body = b'{"correlationId":"c-1","payload":{"a":1.50,"b":[1e5,-0,1234567890123456.78]}}'

    pool.submit(program("echo"), site(), [Call("key", "c-1", 1, "d", body)], 1)
    (outcome,) = collect(pool)

    assert outcome.output == body


def test_its_output_is_completed_as_that_of_a_script(pool):
    submit(pool, "bare")
    (outcome,) = collect(pool)

    assert outcome.output == MESSAGE
    assert "correlationId" in outcome.warning


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("nothing", OutputInvalid, "None"),
        ("nan", OutputInvalid, "$.payload.n"),
        # The worker's own memory is at stake.
        ("doubles", OutputInvalid, "too many bytes as JSON; at most 8388608"),
        ("rejects_giant", ScriptRejected, "no"),
        ("fails", ScriptInvalid, "AttributeError: "),
        ("asks_for_time", ScriptRetry, "busy"),
        ("rejects", ScriptRejected, "no"),
        ("leaves", ScriptRaised, "SystemExit: 3"),
        ("absent", ScriptRaised, "has no function 'absent'"),
    ],
)
def test_what_goes_wrong_is_told_as_of_a_script(pool, name, kind, said):
    submit(pool, name)
    (outcome,) = collect(pool)

    assert type(outcome.error) is kind
    assert said in str(outcome.error)
    assert outcome.output is None


def test_a_traceback_begins_with_the_callable(pool):
    submit(pool, "fails")
    (outcome,) = collect(pool)

    first, file, *_ = outcome.error.traceback.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "test_callables.py" in file
    assert "in fails" in file


def test_its_schemas_are_held_against_its_messages(pool):
    wants_text = '{"properties": {"n": {"type": "string"}}}'
    submit(pool, "echo", key="in", input_schema=wants_text)
    submit(pool, "bare", key="out", output_schema=wants_text)

    errors = {outcome.call.key[0]: outcome.error for outcome in collect(pool)}
    assert type(errors["in"]) is InputInvalid
    assert type(errors["out"]) is OutputInvalid
    assert "$.payload.n" in str(errors["in"])


def test_one_that_takes_too_long_is_ended_and_keeps_no_other_waiting(pool):
    submit(pool, "spins", 2, seconds=3)
    submit(pool, "echo", 50, step="other")

    first = pool.collect(5.0)
    assert {outcome.call.key[0] for outcome in first} == {"echo"}
    late = [outcome for outcome in collect(pool) if outcome.error]
    assert [type(outcome.error) for outcome in late] == [ScriptTimedOut] * 2
    for outcome in late:
        assert re.search(r" It was at line \d+ in spins\(\) of \w+\.py\.", str(outcome.error))
        assert ", in spins\n" in outcome.error.traceback
        assert "in _run" not in outcome.error.traceback


def test_no_step_has_more_threads_than_it_was_given(pool):
    most.clear()
    for step, threads in (("one", 1), ("three", 3)):
        submit(pool, "sleeps", 12, threads=threads, step=step, key=step)

    outcomes = collect(pool)

    assert len(outcomes) == 24
    assert not any(outcome.error for outcome in outcomes)
    assert most == {"one": 1, "three": 3}


def test_cancelling_withdraws_what_waits_and_ends_what_runs(pool):
    submit(pool, "spins", 3, seconds=60)
    wait_for(lambda: pool._callables._running, 5)

    withdrawn = pool.cancel({("spins", 0), ("spins", 2), ("spins", 99)})
    (outcome,) = pool.collect(PATIENCE)

    assert [call.key for call in withdrawn] == [("spins", 2)]
    assert outcome.call.key == ("spins", 0)
    assert isinstance(outcome.error, ScriptKilled)
    assert str(outcome.error) == "cancelled"
    assert pool.outstanding() == 1


def test_a_closed_pool_forgets_what_ran_and_can_be_used_again(pool):
    submit(pool, "spins", 2, seconds=60)
    wait_for(lambda: pool._callables._running, 5)
    old = pool._callables

    pool.close()
    submit(pool, "echo")

    assert [outcome.call.key for outcome in collect(pool)] == [("echo", 0)]
    wait_for(lambda: not old._running, 5)


def test_threads_without_work_end(pool, monkeypatch):
    monkeypatch.setattr("scripts.callables.threads.IDLE_SECONDS", 0.05)
    submit(pool, "sleeps", 4, threads=4)
    collect(pool)

    wait_for(lambda: pool._callables._idle == 0, 5)
    submit(pool, "echo")

    assert len(collect(pool)) == 1


def test_a_pool_that_was_not_told_to_runs_none():
    pool = HostPool()
    try:
        submit(pool, "echo")
        (outcome,) = collect(pool)
    finally:
        pool.close()

    assert isinstance(outcome.error, ScriptInvalid)

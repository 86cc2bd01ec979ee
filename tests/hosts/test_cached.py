"""Values that the hosts of a script share for some time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import CallSite, Outcome, Program
from scripts.protocol.services import CACHE_SERVICE, MAX_CACHED_LENGTH
from scripts.services.shared_values import MAX_VALUES, SharedValues
from tests.hosts.pools import calls, collect_all
from tests.hosts.zygotes import Zygotes

SITE = CallSite("orders", "price", "to-price", False)
PYTHON = """
def run(message, context):
    def make():
        context.log("made")
        return {"n": message["payload"], "rate": 1.25}
    message["payload"] = context.cached("token", 60, make)
    return message
"""
JAVASCRIPT = """
const value = await context.cached("token", 60, async () => {
  log("made");
  return { n: context.Data.payload, rate: 1.25 };
});
context.Data.payload = value;
setData(context.Data);
"""
LANGUAGES = [("python", PYTHON), ("javascript", JAVASCRIPT)]


@pytest.fixture
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    values = SharedValues()
    pool = HostPool(services=lambda: {CACHE_SERVICE: values})
    zygotes.lend_to(pool)
    yield pool
    pool.close()


def program(language: str, code: str, version: int = 1) -> Program:
    return Program(version, "pricing", language, code, 20, 128)


def run(pool: HostPool, script: Program, payloads: list[Any], hosts: int = 1) -> list[Outcome]:
    pool.submit(script, SITE, calls(payloads), hosts)
    return [outcome for _, outcome in sorted(collect_all(pool).items())]


def payloads_of(outcomes: list[Outcome]) -> list[Any]:
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    return [json.loads(outcome.output or b"")["payload"] for outcome in outcomes]


def times_made(outcomes: list[Outcome]) -> int:
    return sum(line["text"] == "made" for outcome in outcomes for line in outcome.logs)


@pytest.mark.parametrize(("language", "code"), LANGUAGES, ids=["python", "javascript"])
def test_later_messages_get_what_the_first_one_made(pool: HostPool, language: str, code: str):
    first = run(pool, program(language, code), [7])

    later = run(pool, program(language, code), list(range(20)), hosts=3)

    assert payloads_of(first) == [{"n": 7, "rate": 1.25}]
    assert payloads_of(later) == [{"n": 7, "rate": 1.25}] * 20
    assert (times_made(first), times_made(later)) == (1, 0)


@pytest.mark.parametrize(("language", "code"), LANGUAGES, ids=["python", "javascript"])
def test_another_version_of_a_script_has_values_of_its_own(
    pool: HostPool, language: str, code: str
):
    run(pool, program(language, code, 1), [7])

    other = run(pool, program(language, code, 2), [8])

    assert payloads_of(other) == [{"n": 8, "rate": 1.25}]


@pytest.mark.parametrize(
    ("language", "code", "said"),
    [
        ("python", "context.cached('k', 0, lambda: 1)", "more than 0 seconds"),
        ("python", "context.cached('', 9, lambda: 1)", "1 to 200 characters"),
        ("python", "context.cached('k' * 201, 9, lambda: 1)", "1 to 200 characters"),
        ("python", "context.cached('k', 9, lambda: 'x' * 65_536)", "at most 65536"),
        ("python", "context.cached('k', 9, lambda: {1})", "The cached value: $ is a set"),
        ("python", "context.cached('k', 9, lambda: 1 / 0)", "ZeroDivisionError"),
        ("javascript", "await context.cached('k', 0, () => 1)", "more than 0 seconds"),
        ("javascript", "await context.cached('', 9, () => 1)", "1 to 200 characters"),
        ("javascript", "await context.cached('k', 9, () => 'x'.repeat(65_536))", "at most 65536"),
        ("javascript", "await context.cached('k', 9, () => new Map())", "the cached value"),
        ("javascript", "await context.cached('k', 9, 1)", "and a function"),
        ("javascript", "await context.cached('k', 9, () => { throw Error('no luck') })", "no luck"),
    ],
)
def test_what_cannot_be_cached_is_an_error_that_says_why(
    pool: HostPool, language: str, code: str, said: str
):
    if language == "python":
        code = f"def run(message, context):\n    {code}\n    return message\n"

    [outcome] = run(pool, program(language, code), [1])

    assert said in str(outcome.error)


def put(values: SharedValues, script: Program, key: str, text: str, seconds: Any = 60) -> None:
    values(script, {"what": "put", "key": key, "seconds": seconds, "text": text}, 0.0)


def get(values: SharedValues, script: Program, key: str) -> str | None:
    return values(script, {"what": "get", "key": key}, 0.0).get("text")


def test_a_value_goes_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch):
    clock = [100.0]
    monkeypatch.setattr("scripts.services.shared_values.time.monotonic", lambda: clock[0])
    values, script = SharedValues(), program("python", "")
    put(values, script, "k", "1", seconds=5)

    clock[0] = 104.9
    before = get(values, script, "k")
    clock[0] = 105.0
    after = get(values, script, "k")

    assert (before, after) == ("1", None)


def test_of_too_many_values_of_a_script_the_least_used_go():
    values, one, other = SharedValues(), program("python", ""), program("python", "", 2)
    put(values, other, "k", "9")
    for number in range(MAX_VALUES):
        put(values, one, f"k{number}", str(number))
    get(values, one, "k0")

    put(values, one, "another", "1")

    assert get(values, one, "k0") == "0"
    assert get(values, one, "k1") is None
    assert get(values, one, "another") == "1"
    assert get(values, other, "k") == "9"


def test_the_memory_of_all_values_is_bounded():
    values, text = SharedValues(), "x" * MAX_CACHED_LENGTH
    for version in range(10):
        for number in range(MAX_VALUES):
            put(values, program("python", "", version), f"k{number}", text)

    assert values._length <= 16 * 1024 * 1024
    assert get(values, program("python", "", 9), "k99") == text


FORGED = [
    {},
    {"what": "drop", "key": "k"},
    {"what": "get"},
    {"what": "get", "key": 1},
    {"what": "get", "key": ["k"]},
    {"what": "put", "key": "k"},
    {"what": "put", "key": "k", "text": "1"},
    {"what": "put", "key": "k", "text": 1, "seconds": 1},
    {"what": "put", "key": "k", "text": "1", "seconds": True},
    {"what": "put", "key": "k", "text": "1", "seconds": "1"},
    {"what": "put", "key": "k", "text": "1", "seconds": -1},
    {"what": "put", "key": "k", "text": "x" * (MAX_CACHED_LENGTH + 1), "seconds": 1},
]


def test_requests_that_a_script_forges_are_refused_and_keep_nothing(pool: HostPool):
    code = (
        "def run(message, context):\n"
        "    replies = [context._reply('cache', each) for each in message['payload']]\n"
        "    return {**message, 'payload': [reply.get('kind') for reply in replies]}\n"
    )

    [outcome] = run(pool, program("python", code), [FORGED])

    assert set(payloads_of([outcome])[0]) <= {"invalid", "too-large"}
    [found] = run(pool, program("python", PYTHON), [7])
    assert times_made([found]) == 1


def test_a_cached_value_that_a_script_forged_harms_that_script_alone(pool: HostPool):
    code = (
        "def run(message, context):\n"
        "    put = {'what': 'put', 'key': 'token', 'seconds': 60, 'text': 'no JSON'}\n"
        "    context._reply('cache', put)\n"
        "    return message\n"
    )
    run(pool, program("python", code, 1), [1])

    other = run(pool, program("python", PYTHON, 2), [7])

    assert payloads_of(other) == [{"n": 7, "rate": 1.25}]

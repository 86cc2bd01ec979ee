"""What scripts and callables tell of their progress, seen while they run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from scripts.callables.calls import CallableCall
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.services.outside_calls import OutsideCalls
from tests.hosts.zygotes import Zygotes
from tests.waiting import PATIENCE, wait_for

HERE = "tests.hosts.test_progress"
SITE = CallSite("orders", "price", "to-price", is_last=True)
SECRET = "s3cret-of-the-shop"

RUNS = {
    "python": "def run(message, context):\n    {code}\n    while {loops}: pass\n    return {{}}\n",
    "javascript": "{code};\nwhile ({loops}) {{}}\nsetData({{}});\n",
}


def secret(program: Program, request: dict[str, Any], deadline: float) -> dict[str, Any]:
    return {"value": SECRET}


secret.readable = lambda program: (SECRET,)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    calls = OutsideCalls()
    pool = HostPool(services=lambda: {"http": calls, "secret": secret})
    zygotes.lend_to(pool)
    yield pool
    pool.close()


def submit(pool: HostPool, language: str, code: str, *, loops: bool) -> None:
    shown = str(loops) if language == "python" else str(loops).lower()
    text = RUNS[language].format(code=code, loops=shown)
    program = Program(hash(text), "pricing", language, text, 60, 256, secrets=("shop.key",))
    pool.submit(program, SITE, [Call("key", "c", 1, "d", b'{"payload":{}}')], 1)


def seen(pool: HostPool, language: str, code: str) -> dict[str, Any]:
    submit(pool, language, code, loops=True)

    def look() -> dict[str, Any] | None:
        assert not pool.collect(0.01)
        return next((each.progress for each in pool.running({"key"}, 0.0)), None)

    try:
        progress: dict[str, Any] = wait_for(look, PATIENCE)
        return progress
    finally:
        pool.cancel({"key"})
        wait_for(lambda: pool.collect(0.1), PATIENCE)


def ended(pool: HostPool, language: str, code: str) -> Outcome:
    submit(pool, language, code, loops=False)
    [outcome] = wait_for(lambda: pool.collect(0.1), PATIENCE)
    return outcome


@pytest.mark.parametrize("language", RUNS)
def test_the_last_progress_of_a_script_is_seen_while_it_runs(pool, language):
    code = "context.progress(1); context.progress(30, 120.5, 'rows read \N{SNOWMAN}')"

    told = seen(pool, language, code)

    assert (told["done"], told["total"], told["text"]) == (30, 120.5, "rows read \N{SNOWMAN}")


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "context.progress(2, text=context.secrets['shop.key'])"),
        ("javascript", "context.progress(2, null, context.secrets['shop.key'])"),
    ],
)
def test_secrets_in_progress_are_masked(pool, language, code):
    told = seen(pool, language, code)

    assert (told["done"], told["total"]) == (2, None)
    assert told["text"]
    assert SECRET not in told["text"]


@pytest.mark.parametrize("language", RUNS)
@pytest.mark.parametrize("wrong", ["-1", "'3'", "1, -2", "1e999"])
def test_wrong_progress_is_an_error_of_the_script(pool, language, wrong):
    outcome = ended(pool, language, f"context.progress({wrong})")

    assert "must be a finite number from 0 on" in str(outcome.error)


@pytest.mark.parametrize("language", RUNS)
def test_progress_may_be_told_as_often_as_a_script_likes(pool, language):
    loop = {
        "python": "[context.progress(i, 10**5, 'x' * 9999) for i in range(10**4)]",
        "javascript": "for (let i = 0; i < 1e4; i++) context.progress(i, 1e5, 'x'.repeat(9999))",
    }[language]

    outcome = ended(pool, language, loop)

    assert (outcome.error, outcome.output, outcome.logs) == (None, b"{}", [])


def reads(message, context):
    context.progress(3, 4, "rows")
    return message


def test_a_callable_tells_its_progress(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = [HERE]
    program = Program(1, "reads", "callable", f"{HERE}.reads", 5.0, 64)
    call = CallableCall(program, SITE, Call("k", "c", 1, "d", b'{"payload":{}}'))

    assert call.progress() is None
    assert call.outcome().error is None

    told = call.progress()
    assert told is not None
    assert (told["done"], told["total"], told["text"]) == (3, 4, "rows")

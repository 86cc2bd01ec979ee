"""What scripts say of the messages that they reject, alike in both languages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from flows.worker.redelivery import after_call
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, Program
from scripts.protocol.errors import ScriptRejected
from tests.hosts.pools import SITE
from tests.hosts.zygotes import Zygotes
from tests.waiting import PATIENCE, wait_for

BODY = b'{"correlationId":"c","payload":{"n":1.50}}'


@pytest.fixture(scope="module")
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    pool = HostPool()
    zygotes.lend_to(pool)
    yield pool
    pool.close()


def rejected(pool: HostPool, language: str, statement: str) -> ScriptRejected:
    code = f"{statement};"
    if language == "python":
        code = f"def run(message, context):\n    raise {statement}"
    program = Program(id(statement), "pricing", language, code, 20, 128)
    pool.submit(program, SITE, [Call("key", "c", 1, "d", BODY)], 1)
    [outcome] = wait_for(lambda: pool.collect(0.1), PATIENCE)
    assert isinstance(outcome.error, ScriptRejected), outcome.error
    return outcome.error


@pytest.mark.parametrize(
    ("python", "javascript", "expected"),
    [
        ("Reject('no')", "reject('no')", ("no", None, None)),
        ("Reject('no', code='E5')", "reject('no', { code: 'E5' })", ("no", "E5", None)),
        ("Reject('no', code=5)", "reject('no', { code: 5 })", ("no", "5", None)),
        ("Reject(code=5)", "reject({ code: 5 })", ("", "5", None)),
        (
            "Reject('no', code='E', details={'a': [1, None]})",
            "reject({ reason: 'no', code: 'E', details: { a: [1, null] } })",
            ("no", "E", {"a": [1, None]}),
        ),
        ("Reject('no', details='x')", "reject('no', { details: 'x' })", ("no", None, "x")),
        (
            "Reject('no', details=message['payload'])",
            "reject('no', { details: context.Data.payload })",
            ("no", None, {"n": 1.5}),
        ),
        ("Reject('no', details=0)", "reject('no', { details: 0 })", ("no", None, 0)),
    ],
)
@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_rejection_has_a_reason_a_code_and_details(
    pool: HostPool, language: str, python: str, javascript: str, expected: tuple[Any, ...]
) -> None:
    error = rejected(pool, language, python if language == "python" else javascript)

    details = None if error.details is None else json.loads(error.details)
    decision = after_call(error)
    assert (error.reason, error.code, details) == expected
    assert (decision.code, decision.details) == (error.code, error.details)
    assert decision.error == (expected[0] or "Rejected with the code 5.")


@pytest.mark.parametrize(
    ("language", "statement"),
    [
        ("python", "Reject('no', code='E' * 1000, details={1, 2})"),
        ("python", "Reject('no', code='E' * 1000, details={'x': 'é' * 99999})"),
        ("javascript", "reject('no', { code: 'E'.repeat(1000), details: new Map() })"),
        ("javascript", "reject('no', { code: 'E'.repeat(1000), details: ['é'.repeat(99999)] })"),
    ],
)
def test_a_rejection_stands_whatever_is_in_its_details(
    pool: HostPool, language: str, statement: str
) -> None:
    error = rejected(pool, language, statement)

    assert error.reason == "no"
    assert error.code == "E" * 99 + "…"
    assert error.details is not None
    assert len(error.details) <= 16 * 1024
    assert json.loads(error.details)


@pytest.mark.parametrize(
    ("language", "statement"),
    [
        ("python", "Reject('no', details=[['x' * 10_000] * 10_000] * 10_000)"),
        ("javascript", "reject('no', { details: Array(1e6).fill('x'.repeat(10000)) })"),
    ],
)
def test_details_that_are_too_large_say_so(pool: HostPool, language: str, statement: str) -> None:
    error = rejected(pool, language, statement)

    assert json.loads(error.details or "")["tooLong"] == 1024 * 1024


def test_another_object_is_the_reason_of_a_rejection(pool: HostPool) -> None:
    error = rejected(pool, "javascript", "reject({ code: 5, field: 'n' })")

    assert (json.loads(error.reason), error.code) == ({"code": 5, "field": "n"}, None)

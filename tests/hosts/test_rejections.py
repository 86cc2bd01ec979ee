"""What scripts say of the messages that they reject, alike in both languages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from flows.worker.redelivery import after_call
from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, Program
from scripts.protocol.errors import OutputInvalid, ScriptError, ScriptRejected
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


class Number(str):
    """A number as it is written."""


def rejected(pool: HostPool, language: str, statement: str) -> ScriptRejected:
    error = ended(pool, language, statement)
    assert isinstance(error, ScriptRejected), error
    return error


def ended(pool: HostPool, language: str, statement: str) -> ScriptError | None:
    code = f"{statement};"
    if language == "python":
        code = f"def run(message, context):\n    raise {statement}"
    program = Program(id(statement), "pricing", language, code, 20, 128)
    pool.submit(program, SITE, [Call("key", "c", 1, "d", BODY)], 1)
    [outcome] = wait_for(lambda: pool.collect(0.1), PATIENCE)
    return outcome.error


@pytest.mark.parametrize(
    ("python", "javascript", "expected"),
    [
        ("Reject('no')", "reject('no')", ("no", None, None)),
        ("Reject('no', code='E5')", "reject('no', { code: 'E5' })", ("no", "E5", None)),
        ("Reject('no', 'E5', 1)", "reject('no', { code: 'E5', details: 1 })", ("no", "E5", 1)),
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
            ("no", None, {"n": Number("1.50")}),
        ),
        ("Reject('no', details=0)", "reject('no', { details: 0 })", ("no", None, 0)),
    ],
)
@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_rejection_has_a_reason_a_code_and_details(
    pool: HostPool, language: str, python: str, javascript: str, expected: tuple[Any, ...]
) -> None:
    error = rejected(pool, language, python if language == "python" else javascript)

    details = None if error.details is None else json.loads(error.details, parse_float=Number)
    decision = after_call(error)
    assert (error.reason, error.code, details) == expected
    assert (decision.code, decision.details) == (error.code, error.details)
    assert decision.error == (expected[0] or "Rejected with the code 5.")


@pytest.mark.parametrize(
    ("language", "statement"),
    [
        ("python", "Reject('no', code='E' * 99, details={'x': 'é' * 99999})"),
        ("javascript", "reject('no', { code: 'E'.repeat(99), details: ['é'.repeat(99999)] })"),
    ],
)
def test_of_long_details_of_a_rejection_the_beginning_is_kept(
    pool: HostPool, language: str, statement: str
) -> None:
    error = rejected(pool, language, statement)

    assert error.reason == "no"
    assert error.code == "E" * 99
    assert error.details is not None
    assert len(error.details) <= 16 * 1024
    assert json.loads(error.details)["tooLong"] > 99999
    assert "é" in json.loads(error.details)["beginning"]


@pytest.mark.parametrize(
    ("language", "statement", "said"),
    [
        ("python", "Reject('no', code='E' * 100)", "100 characters; at most 99 are allowed."),
        ("python", "Reject('no', details={'a': [{1, 2}]})", "$.a[0] is a set, which JSON cannot"),
        ("python", "Reject('no', details=float('nan'))", "$ is NaN, which JSON cannot hold"),
        (
            "python",
            "Reject('no', details=[__import__('decimal').Decimal('NaN')])",
            "$[0] is a Decimal, which JSON cannot hold",
        ),
        ("python", "Reject('no', details=[10 ** 4400])", "an integer of more than 4300 digits"),
        ("javascript", "reject('no', { code: 'E'.repeat(100) })", "at most 99 are allowed."),
        ("javascript", "reject('no', { details: { a: [new Map()] } })", "details.a[0] is a Map,"),
        ("javascript", "reject('no', { details: [NaN] })", "details[0] is NaN, which JSON cannot"),
    ],
)
def test_what_cannot_be_kept_of_a_rejection_is_a_dead_letter_that_says_why(
    pool: HostPool, language: str, statement: str, said: str
) -> None:
    error = ended(pool, language, statement)

    assert isinstance(error, OutputInvalid), error
    assert said in str(error)


@pytest.mark.parametrize("digits", ["1.50", "1234567890123456.78", "0", "1E+3", "-0.00"])
def test_decimals_in_the_details_of_a_rejection_are_numbers(pool: HostPool, digits: str) -> None:
    decimal = f"__import__('decimal').Decimal('{digits}')"

    error = rejected(pool, "python", f"Reject('no', details={{'n': {decimal}, 'm': message}})")

    body = json.loads(BODY, parse_float=Number)
    assert json.loads(error.details or "", parse_float=Number, parse_int=Number) == {
        "n": digits,
        "m": body,
    }


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

"""Idempotency keys and batches on the wire, as callers of a running system send them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.acceptance.installation import Installation, serving
from tests.acceptance.wire import Wire

# An installation of its own.
pytestmark = pytest.mark.long

START = "/async/api/start?flowName=parked"
BATCH = "/async/api/start/batch?correlationIds=all&flowName=small"
JSON = "Content-Type: application/json"
ECHO = "def run(message, context):\n    return message\n"
CONFIGURATION = {
    "scripts": [{"name": "echo", "code": ECHO}],
    "queues": [
        {"name": "parked", "size": 1_000, "paused": True},
        {"name": "small", "size": 1_200, "paused": True},
    ],
    "flows": [
        {"name": name, "steps": [{"script": "echo", "queue": name}]} for name in ("parked", "small")
    ],
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with serving(tmp_path_factory.mktemp("repeated"), CONFIGURATION) as installation:
        yield installation


def start(served: Installation, *headers: str) -> tuple[int, str, bool]:
    """Start a run; return the status, the id or the problem, and whether it is a repeat."""
    with Wire(served) as wire:
        wire.send("POST", START, JSON, "Content-Length: 2", *headers, body=b"{}")
        reply = wire.reply()
    said = json.loads(reply.body)
    is_repeat = reply.headers.get("idempotent-replayed") == "true"
    return reply.status, said.get("correlationId") or reply.problem, is_repeat


@pytest.mark.parametrize(
    "headers",
    [
        ("Idempotency-Key: a", "Idempotency-Key: b"),
        ("Idempotency-Key: a", "Idempotency-Key: a"),
        ("Idempotency-Key: a", "idempotency-key: b"),
        ("Idempotency-Key: a,b",),
        ("Idempotency-Key: a, b",),
    ],
)
def test_two_keys_are_refused(served: Installation, headers: tuple[str, ...]):
    assert start(served, *headers) == (400, "header-invalid", False)


def test_a_header_with_an_underscore_is_no_key(served: Installation):
    alias = "Idempotency_Key: alias"

    first, second = start(served, alias), start(served, alias)
    third = start(served, alias, "Idempotency-Key: real")
    fourth = start(served, "Idempotency-Key: real", alias)

    assert first[1] != second[1]
    assert (first[2], second[2]) == (False, False)
    assert (third[1], third[2], fourth[2]) == (fourth[1], False, True)


def test_a_caller_with_a_long_batch_reads_at_which_line_it_stopped(served: Installation):
    body = b"".join(b'{"n": %d}\n' % n for n in range(100_000))

    with Wire(served) as wire:
        kind, length = "Content-Type: application/x-ndjson", f"Content-Length: {len(body)}"
        wire.send("POST", BATCH, kind, length, body=body)
        reply = wire.reply()

    said = json.loads(reply.body)
    assert reply.status == 202
    assert said["accepted"] == len(said["correlationIds"]) == 1_200
    assert said["nextLine"] == 1_201
    assert [(each["line"], each["type"]) for each in said["rejected"]] == [
        (1_201, "/async/problems/queue-full")
    ]
    assert int(reply.headers["retry-after"]) >= 1
    stored = served.rows("SELECT body FROM flows_message")
    numbers = [json.loads(text)["payload"].get("n") for (text,) in stored]
    assert sorted(n for n in numbers if n is not None) == list(range(1_200))

"""What callers can hold of the web server, and how it gets rid of them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from tests.acceptance.installation import Installation, serving, snapshot
from tests.acceptance.wire import ADMIN, Wire, chunk
from tests.databases import is_postgresql
from tests.waiting import PATIENCE, wait_for

# An installation of its own, with callers that are slow by nature.
pytestmark = pytest.mark.long

START = "/async/api/start?flowName=parked"
BATCH = "/async/api/start/batch?flowName=parked"
CHUNKED = "Transfer-Encoding: chunked"
JSON = "Content-Type: application/json"
NDJSON = "Content-Type: application/x-ndjson"
ECHO = "def run(message, context):\n    return message\n"
PARKED = {
    "scripts": [{"name": "echo", "code": ECHO}],
    "queues": [{"name": "parked", "size": 1_000_000, "paused": True}, {"name": "quick"}],
    "flows": [
        {"name": "parked", "steps": [{"script": "echo", "queue": "parked"}]},
        {"name": "quick", "steps": [{"script": "echo", "queue": "quick"}]},
    ],
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with serving(tmp_path_factory.mktemp("front"), PARKED) as installation:
        yield installation


def runs(served: Installation) -> int:
    return served.rows("SELECT count(*) FROM flows_run")[0][0]


def test_connections_that_send_no_body_hold_nothing_that_others_need(served: Installation):
    with ExitStack() as stack:
        idle = [stack.enter_context(Wire(served)) for _ in range(200)]
        for wire in idle:
            wire.send("POST", START, JSON, "Content-Length: 100", login="")

        live = served.http.get("/health/live")
        ready = served.http.get("/health/ready")
        served.start("parked", {})

        assert (live.status_code, ready.status_code) == (200, 200)
        for wire in idle:
            reply = wire.reply()
            assert (reply.status, reply.problem) == (408, "body-too-slow")
            assert reply.announces_close
            assert wire.is_closed()


def test_a_body_that_drips_is_refused_wherever_it_goes(served: Installation):
    paths = [START, BATCH, "/async/api/auth/token", "/admin/login/", "/nowhere"]
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(served)) for _ in paths * 2]
        for wire, path, login in zip(wires, paths * 2, [ADMIN, ""] * 5, strict=True):
            wire.send("POST", path, JSON, "Content-Length: 100000", login=login)

        wait_for(
            lambda: not [wire for wire in wires if not drip(wire)],
            60,
            "answers to bodies that drip",
        )

        for wire in wires:
            wire.socket.setblocking(True)
            reply = wire.reply()
            assert (reply.status, reply.problem) == (408, "body-too-slow")
            assert reply.announces_close


def drip(wire: Wire) -> bool:
    """Send one more byte unless there is an answer; say whether there is one."""
    if has_answer(wire):
        return True
    wire.socket.sendall(b" ")
    return False


@pytest.mark.parametrize(
    ("path", "content_type"),
    [(START, JSON), ("/async/api/flows/parked/start", JSON), (BATCH, JSON), (BATCH, NDJSON)],
)
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("Content-Length: 10", b"{}"),
        ("Content-Length: 10", b""),
        ("Content-Length: 4", b"{}\n"),
        (CHUNKED, chunk(b"{}")),
        (CHUNKED, chunk(b"{}\n") + b"5\r\n{}"),
        (CHUNKED, chunk(b"{}") + b"0\r\n"),
        (CHUNKED, chunk(b"{}") + b"nonsense\r\n\r\n"),
    ],
)
def test_a_body_that_ends_early_is_not_taken_as_whole(
    served: Installation, path: str, content_type: str, framing: str, body: bytes
):
    before = runs(served)

    with Wire(served) as wire:
        wire.send("POST", path, content_type, framing, body=body)
        wire.half_close()
        reply = wire.reply()

    assert (reply.status, reply.problem) == (400, "body-incomplete")
    assert runs(served) == before


def test_a_body_in_chunks_with_trailers_is_taken(served: Installation):
    body = chunk(b'{"n":') + chunk(b"1}") + b"0\r\nX-Checksum: 1\r\n\r\n"

    with Wire(served) as wire:
        wire.send("POST", START, JSON, CHUNKED, body=body)

        assert wire.reply().status == 202


@pytest.mark.parametrize(
    ("method", "path", "login", "framing", "body", "status"),
    [
        ("POST", START, "", "Content-Length: 2", b"{}", 401),
        ("POST", START, "", CHUNKED, chunk(b"{}") + b"0\r\n\r\n", 401),
        ("POST", START, ADMIN, "Transfer-Encoding: gzip, chunked", chunk(b"x") + b"0\r\n\r\n", 501),
        ("POST", START, ADMIN, "Content-Length: 2000000", b" " * 2_000_000, 413),
        ("POST", START, ADMIN, "Content-Length: 2000000", b" " * 10, 413),
        ("POST", START, "", CHUNKED, chunk(b" " * 2_000_000) + b"0\r\n\r\n", 413),
        ("POST", BATCH, "", "Content-Length: 2000000", b" " * 2_000_000, 401),
        ("POST", "/async/api/start", ADMIN, "Content-Length: 2", b"{}", 400),
        ("POST", "/async/api/nowhere", ADMIN, "Content-Length: 2", b"{}", 404),
        ("PUT", START, ADMIN, "Content-Length: 2", b"{}", 405),
        ("GET", "/async/api/queues", ADMIN, "Content-Length: 2", b"{}", 200),
    ],
)
def test_after_an_answer_the_connection_goes_on_or_its_end_is_announced(
    served: Installation,
    method: str,
    path: str,
    login: str,
    framing: str,
    body: bytes,
    status: int,
):
    with Wire(served) as wire:
        wire.send(method, path, JSON, framing, body=body, login=login)
        reply = wire.reply()

        assert reply.status == status
        if reply.announces_close:
            assert wire.is_closed()
        else:
            wire.send("GET", "/async/api/queues")
            assert wire.reply().status == 200


def test_batches_that_stop_sending_leave_threads_to_others_and_say_where_they_stopped(
    served: Installation,
):
    line = json.dumps({"text": "x" * 1000}).encode() + b"\n"

    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(served)) for _ in range(6)]
        for wire in wires:
            wire.send("POST", BATCH, NDJSON, CHUNKED, body=chunk(line) * 700)

        served.start("parked", {})

        for wire in wires:
            reply = wire.reply()
            answer = json.loads(reply.body)
            assert reply.status == 202
            assert reply.announces_close
            assert answer["accepted"] == len(answer["correlationIds"]) == 500
            assert answer["nextLine"] == 501
            [refusal] = answer["rejected"]
            assert refusal["line"] == 501
            assert refusal["type"] == "/async/problems/body-too-slow"


def test_nothing_of_a_short_batch_that_breaks_off_is_stored(served: Installation):
    before = runs(served)

    with Wire(served) as wire:
        wire.send("POST", BATCH, NDJSON, "Content-Length: 99999", body=b"{}\n" * 1200)
        wire.half_close()
        reply = wire.reply()

    assert (reply.status, reply.problem) == (400, "body-incomplete")
    assert runs(served) == before


def test_the_probes_answer_while_every_thread_is_held(served: Installation):
    with writes_blocked(served.database_url), ExitStack() as stack:
        held = [stack.enter_context(Wire(served)) for _ in range(60)]
        for wire in held:
            wire.send("POST", START, JSON, "Content-Length: 2", body=b"{}")

        live = served.http.get("/health/live")
        ready = served.http.get("/health/ready")

        assert live.json() == {"status": "live"}
        assert ready.status_code == 200
        assert not any(has_answer(wire) for wire in held)


def has_answer(wire: Wire) -> bool:
    wire.socket.setblocking(False)
    try:
        return bool(wire.socket.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


@contextmanager
def writes_blocked(url: str) -> Iterator[None]:
    if is_postgresql():
        with psycopg.connect(url) as server:
            server.execute("LOCK TABLE flows_run IN EXCLUSIVE MODE")
            yield
            server.rollback()
        return
    with snapshot(url) as query:
        query("ROLLBACK")
        query("BEGIN IMMEDIATE")
        yield


def test_a_start_by_command_says_nothing_but_the_id(served: Installation):
    started = served.manage("start", "parked")

    assert len(started.stdout.split()) == 1
    assert started.stderr == ""


def test_all_callers_that_wait_for_a_run_are_answered_at_its_end(served: Installation):
    run = served.start("parked", {})

    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(served)) for _ in range(100)]
        for wire in wires:
            wire.send("GET", f"/async/api/runs/{run}?wait=60")
        served.run(served.start("quick", {}), wait=30)
        served.http.post(f"/api/runs/{run}/cancel")

        states = [json.loads(wire.reply().body)["status"] for wire in wires]

    assert states == ["CANCELLED"] * 100


def test_callers_that_have_gone_do_not_wait_on(served: Installation):
    run = served.start("parked", {})
    for _ in range(1_200):
        with Wire(served) as wire:
            wire.send("GET", f"/async/api/runs/{run}?wait=60")

    def answer() -> str | None:
        answer = served.http.get(f"/api/runs/{run}?wait=0.1")
        return answer.json()["status"] if answer.status_code == 200 else None

    assert wait_for(answer, PATIENCE, "a place to wait") == "QUEUED"

"""What the client makes of its arguments."""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO, TextIOWrapper
from typing import Any

import httpx
import pytest
from asyncengine_client import Client, calls
from asyncengine_client.command import main
from asyncengine_client.errors import ClientError, NoConnection, Refused, Unavailable
from asyncengine_client.retries import Tries
from asyncengine_client.settings import Settings
from asyncengine_client.upload import Upload

from tests.loopback import serving


@pytest.mark.parametrize(
    ("deadline", "text"),
    [(1_234_567, "1234567"), (1_234_567.25, "1234567.25"), (300.0, "300"), (1e-5, "1e-05")],
)
def test_seconds_keep_their_digits(deadline: float, text: str):
    assert calls.start_parameters("flow", deadline=deadline)["deadline"] == text


def test_more_headers_leave_the_login():
    given = Settings("http://engine", "token", None).of_httpx({"headers": {"X-Request-Id": "a"}})

    assert given["headers"]["authorization"] == "Bearer token"
    assert given["headers"]["x-request-id"] == "a"


def test_what_may_have_been_discarded_is_not_discarded_again():
    tries = Tries(calls.discard(7), 60.0)

    assert tries.after_failure(httpx.ConnectError("not sent"))
    with pytest.raises(NoConnection):
        tries.after_failure(httpx.ReadError("may have been sent"))


@pytest.mark.parametrize("call", [calls.discard(7), calls.reprocess(7), calls.reprocess_many({})])
def test_what_may_be_done_is_not_done_again(call: calls.Call):
    tries = Tries(call, 60.0)

    assert [tries.after_answer(httpx.Response(status)) for status in (429, 503)]
    for status in (500, 502, 504):
        with pytest.raises(Unavailable):
            tries.after_answer(httpx.Response(status))


def test_a_start_goes_again_after_every_answer_that_may_pass():
    tries = Tries(calls.start("flow", {}, key=None), 60.0)

    for status in (429, 500, 502, 503, 504):
        assert tries.after_answer(httpx.Response(status))


def test_the_patience_begins_when_a_call_that_was_held_breaks(monkeypatch: pytest.MonkeyPatch):
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    tries = Tries(calls.start("flow", {}, key=None, wait=60.0), 30.0)
    now[0] += 45

    assert tries.after_failure(httpx.ReadError("the engine is started anew"))
    now[0] += 29
    assert tries.after_failure(httpx.ConnectError("it is not there yet"))
    now[0] += 1
    with pytest.raises(NoConnection):
        tries.after_failure(httpx.ConnectError("still not"))


@pytest.fixture
def elsewhere() -> Iterator[Client]:
    """A client whose address is that of a page, which is no engine."""
    with serving() as page, Client(page.url(), token="secret") as client:
        page.answers("/async/api/runs", 301, Location="https://engine.example/async/api/runs")
        page.answers("/async/api/flows", 200, b"<p>Log in.</p>")
        page.answers("/async/api/events", 302, Location="/login")
        page.answers("/async/api/runs/7/events", 200, b"<p>Log in.</p>", Content_Type="text/html")
        yield client


def test_where_an_engine_is_not_is_told(elsewhere: Client):
    with pytest.raises(Refused, match=r"another one: see https://engine\.example/async/api/runs"):
        list(elsewhere.runs())
    with pytest.raises(Refused, match="see /login"):
        next(elsewhere.events())
    with pytest.raises(ClientError, match=r"/async/api/flows.* answers no JSON"):
        list(elsewhere.flows())
    with pytest.raises(ClientError, match=r"/async/api/runs/7/events.* answers no events"):
        next(elsewhere.run_events("7"))


@pytest.mark.parametrize("verb", ["cancel-runs", "runs", "start flow {}", "batch flow -"])
def test_a_key_of_two_labels_is_refused_by_the_command(verb: str, capsys: Any, monkeypatch: Any):
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO()))
    with serving() as engine:
        given = ["--label", "shop:north", "--label", "shop:south"]

        code = main(["--url", engine.url(), *verb.split(), *given])

    assert code == 1
    assert "The key 'shop' of a label is given more than once." in capsys.readouterr().err
    assert engine.received == []


def test_a_batch_is_not_sent_again_to_an_engine_that_is_elsewhere():
    moved = httpx.Response(308, headers={"Location": "https://engine.example"})

    with pytest.raises(Refused):
        Upload([{}], True, 60.0, None).answered(moved)

"""The client's streams of events, and how long they are tried again."""

from __future__ import annotations

import time

import httpx
import pytest
from asyncengine_client.errors import ClientError, NoConnection, Unavailable
from asyncengine_client.streams import Stream

GONE = httpx.ConnectError("gone")
OPEN = httpx.Response(200, headers={"Content-Type": "text/event-stream"})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_patience_begins_when_an_open_stream_breaks(clock: list[float]):
    stream = Stream({}, 30.0, None)
    assert stream.opened(OPEN)
    clock[0] += 86_400

    stream.broke(GONE)
    clock[0] += 20
    assert not stream.opened(httpx.Response(503))
    clock[0] += 9
    stream.broke(GONE)
    clock[0] += 1

    with pytest.raises(NoConnection):
        stream.broke(GONE)
    with pytest.raises(Unavailable):
        stream.opened(httpx.Response(503))


def test_a_stream_that_was_opened_again_has_the_whole_patience(clock: list[float]):
    stream = Stream({}, 30.0, None)
    for _ in range(3):
        assert stream.opened(OPEN)
        clock[0] += 100
        stream.broke(GONE)
        clock[0] += 29
        stream.broke(GONE)


def test_a_stream_without_patience_breaks_at_once(clock: list[float]):
    stream = Stream({}, 0.0, None)
    assert stream.opened(OPEN)

    with pytest.raises(NoConnection):
        stream.broke(GONE)


def test_a_page_is_no_stream_whatever_the_patience():
    asked = httpx.Request("GET", "http://engine/events")
    page = httpx.Response(200, headers={"Content-Type": "text/html"}, request=asked)

    with pytest.raises(ClientError, match="http://engine/events answers no events"):
        Stream({}, 30.0, None).opened(page)

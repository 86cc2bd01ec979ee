"""Connections and what is left on them."""

import contextlib
import threading
import time
from dataclasses import replace

import pytest

from scripts.services import outside_calls
from scripts.services.connections import resolve
from scripts.services.outside_calls import OutsideCalls
from tests.hosts.outside_calls.helpers import call, program, refusal
from tests.loopback import Handler, Loopback
from tests.no_threads import no_new_threads
from tests.waiting import PATIENCE, wait_for

FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
        ("POST", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_what_comes_behind_an_answer_is_no_answer_to_another_request(
    service: OutsideCalls, server: Loopback, method: str, answer: bytes, pause: float
) -> None:
    sent = threading.Event()

    def page(handler: Handler) -> None:
        handler.wfile.write(answer if pause else answer + FORGED)
        if pause:
            time.sleep(pause)
            with contextlib.suppress(OSError):
                handler.wfile.write(FORGED)
        sent.set()

    server.pages["/odd"] = page
    server.answers("/", 200, b"honest")

    for _ in range(8):
        sent.clear()
        call(service, server.url("/odd"), method)
        sent.wait(PATIENCE)
        assert call(service, server.url())["body"] == "honest"


def test_versions_of_scripts_share_no_connection(service: OutsideCalls, server: Loopback) -> None:
    server.answers("/", 200, b"x")

    for version in (1, 2, 1, 2):
        request = {"method": "GET", "url": server.url()}
        service(replace(program(), version_id=version), request, time.monotonic() + 20)

    clients = [received.client for received in server.received]
    assert len(set(clients)) == 2
    assert clients[0] == clients[2]
    assert clients[1] == clients[3]


def test_connections_of_scripts_that_make_no_calls_are_closed(
    service: OutsideCalls, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers("/", 200, b"x")
    monkeypatch.setattr(outside_calls, "_IDLE_SECONDS", -1.0)
    call(service, server.url())

    request = {"method": "GET", "url": server.url()}
    service(replace(program(), version_id=77), request, time.monotonic() + 20)

    wait_for(lambda: server.closed)
    assert server.closed == 1


class Closing:
    """A server that closes a connection when the second request comes on it."""

    def __init__(self, server: Loopback) -> None:
        self.seen: set[tuple[str, int]] = set()
        server.pages["/"] = self.page

    def page(self, handler: Handler) -> None:
        if handler.client_address in self.seen:
            handler.close_connection = True
            return
        self.seen.add(handler.client_address)
        handler.answer(200, b"x", {})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_changes_nothing_is_sent_again_where_an_idle_connection_was_closed(
    service: OutsideCalls, server: Loopback, method: str
) -> None:
    Closing(server)

    for _ in range(6):
        assert call(service, server.url(), method)["status"] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_what_may_have_had_its_effect_is_not_sent_again_and_says_so(
    service: OutsideCalls, server: Loopback, method: str
) -> None:
    Closing(server)
    call(service, server.url(), method)

    failed = refusal(service, server.url(), method)

    assert failed.kind == "protocol"
    assert str(failed).endswith(f"The {method} may have been received, and was not sent again.")
    assert len(server.received) == 2


def test_a_server_that_breaks_off_at_once_is_asked_once(
    service: OutsideCalls, server: Loopback
) -> None:
    def page(handler: Handler) -> None:
        handler.close_connection = True

    server.pages["/"] = page

    assert refusal(service, server.url()).kind == "protocol"
    assert len(server.received) == 1


def test_names_are_looked_up_after_no_thread_could_be_made_for_it() -> None:
    lookups = threading.BoundedSemaphore(1)
    with no_new_threads(), pytest.raises(RuntimeError):
        resolve("localhost", 80, time.monotonic() + PATIENCE, lookups)

    found = resolve("localhost", 80, time.monotonic() + PATIENCE, lookups)

    assert all(address.is_loopback for address in found)

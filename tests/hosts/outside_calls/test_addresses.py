"""Names and their addresses; Redirects."""

import socket
import threading
from typing import Any

import pytest

from scripts.services import connections, outside_calls
from scripts.services.outside_calls import OutsideCalls
from tests.hosts.outside_calls.helpers import call, refusal, resolver
from tests.loopback import Loopback


@pytest.fixture
def one_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take 127.0.0.1 for a public address and all others for private ones."""
    monkeypatch.setattr(connections, "is_public", lambda address: str(address) == "127.0.0.1")


@pytest.mark.usefixtures("one_public_address")
def test_the_connection_goes_to_the_address_that_was_checked(
    service: OutsideCalls, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers("/", 200, b"x")
    asked = resolver(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])

    call(service, server.url(host="shop.example"), rights={"private_addresses": False})

    (received,) = server.received
    assert received.headers["host"] == f"shop.example:{server.port}"
    assert received.server_address == "127.0.0.1"
    assert asked == ["shop.example"]


@pytest.mark.usefixtures("one_public_address")
def test_a_name_with_public_and_private_addresses_is_called_at_a_public_one(
    service: OutsideCalls, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers("/", 200, b"x")
    resolver(monkeypatch, ["127.0.0.2", "127.0.0.1"])

    call(service, server.url(host="shop.example"), rights={"private_addresses": False})

    assert [received.server_address for received in server.received] == ["127.0.0.1"]


@pytest.mark.usefixtures("one_public_address")
def test_a_redirect_to_a_private_address_is_refused(
    service: OutsideCalls, server: Loopback
) -> None:
    server.answers("/", 302, Location=server.url("/inner", host="127.0.0.2"))

    failed = refusal(service, server.url(), rights={"private_addresses": False})

    assert failed.kind == "private-address"
    assert [received.path for received in server.received] == ["/"]


@pytest.mark.usefixtures("one_public_address")
def test_a_connection_of_a_script_with_private_addresses_serves_no_other(
    service: OutsideCalls, server: Loopback
) -> None:
    server.answers("/", 200, b"x")
    url = server.url(host="127.0.0.2")
    call(service, url)

    assert refusal(service, url, rights={"private_addresses": False}).kind == "private-address"


def test_the_next_address_is_tried_where_one_does_not_answer(
    service: OutsideCalls, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers("/", 200, b"x")
    resolver(monkeypatch, ["::1", "127.0.0.1"])  # the server has no IPv6

    assert call(service, server.url(host="shop.example"))["status"] == 200


def test_an_unknown_name_is_named(service: OutsideCalls) -> None:
    failed = refusal(service, "http://nothing.invalid/")

    assert failed.kind == "dns"
    assert "nothing.invalid" in str(failed)


def test_a_resolver_that_hangs_does_not_hold_up_a_request(
    service: OutsideCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()

    class Hanging:
        SOCK_STREAM = socket.SOCK_STREAM

        @staticmethod
        def getaddrinfo(*args: Any, **options: Any) -> list[Any]:
            free.wait()
            return []

    monkeypatch.setattr(connections, "socket", Hanging)

    failed = refusal(service, "http://shop.example/", timeout=0.3)
    free.set()

    assert failed.kind == "timeout"


def test_redirects_are_followed(service: OutsideCalls, server: Loopback) -> None:
    server.answers("/a", 301, Location="b?x=1")
    server.answers("/b", 307, Location=server.url("/c", host="localhost"))
    server.answers("/c", 200, b"there")

    reply = call(service, server.url("/a"))

    assert reply["body"] == "there"
    assert reply["url"] == server.url("/c", host="localhost")
    assert [received.path for received in server.received] == ["/a", "/b?x=1", "/c"]


@pytest.mark.parametrize(
    ("status", "method", "becomes"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (302, "PUT", "PUT"),
        (307, "POST", "POST"),
        (308, "POST", "POST"),
    ],
)
def test_a_redirect_says_what_becomes_of_method_and_body(
    service: OutsideCalls, server: Loopback, status: int, method: str, becomes: str
) -> None:
    server.answers("/a", status, Location="/b")
    server.answers("/b", 200)

    call(service, server.url("/a"), method, body="body", headers={"Content-Type": "text/x"})

    received = server.received[1]
    assert received.method == becomes
    assert received.body == (b"body" if becomes in ("POST", "PUT") else b"")
    assert ("content-type" in received.headers) == (becomes in ("POST", "PUT"))


def test_what_is_confidential_goes_to_no_other_origin(
    service: OutsideCalls, server: Loopback
) -> None:
    headers = {"Authorization": "Bearer x", "X-Api-Key": "y", "Cookie": "z", "X-Trace": "1"}
    server.answers("/same", 307, Location="/here")
    server.answers("/other", 307, Location=server.url("/here", host="localhost"))
    server.answers("/here", 200)

    call(service, server.url("/same"), headers=headers)
    call(service, server.url("/other"), headers=headers)

    same, other = [r.headers for r in server.received if r.path == "/here"]
    assert {"authorization", "x-api-key", "cookie", "x-trace"} <= same.keys()
    assert {"authorization", "x-api-key", "cookie", "x-trace"} & other.keys() == {"x-trace"}


def test_each_redirect_is_looked_at(service: OutsideCalls, server: Loopback) -> None:
    server.answers("/host", 302, Location=server.url("/", host="localhost"))
    server.answers("/scheme", 302, Location="file:///etc/passwd")
    server.answers("/loop", 302, Location="/loop")
    rights = {"allowed_hosts": ("127.0.0.1",)}

    kinds = [
        refusal(service, server.url(path), rights=rights).kind
        for path in ("/host", "/scheme", "/loop")
    ]

    assert kinds == ["host-not-allowed", "invalid", "redirects"]
    assert len(server.received) == 2 + outside_calls.MAX_REDIRECTS + 1

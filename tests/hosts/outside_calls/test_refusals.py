"""What is refused."""

import ipaddress
from typing import Any

import pytest

from scripts.services.addresses import is_allowed, is_public
from scripts.services.outside_calls import OutsideCalls
from tests.hosts.outside_calls.helpers import call, refusal
from tests.loopback import Loopback


def test_a_script_without_network_may_call_no_host(service: OutsideCalls, server: Loopback) -> None:
    failed = refusal(service, server.url(), rights={"network": False})

    assert failed.kind == "network-off"
    assert "network access is off" in str(failed)
    assert server.received == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]"]
)
def test_private_addresses_are_refused_however_they_are_written(
    service: OutsideCalls, server: Loopback, host: str
) -> None:
    failed = refusal(service, server.url(host=host), rights={"private_addresses": False})

    assert failed.kind == "private-address"
    assert server.received == []


def test_only_allowed_hosts_are_called(service: OutsideCalls, server: Loopback) -> None:
    server.answers("/", 200, b"x")
    rights = {"allowed_hosts": (f"127.0.0.1:{server.port}", "*.example.org")}

    assert call(service, server.url(), rights=rights)["status"] == 200
    failed = refusal(service, server.url(host="localhost"), rights=rights)
    assert failed.kind == "host-not-allowed"
    assert "localhost" in str(failed)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://localhost/",
        "//localhost/",
        "localhost",
        "http:///path",
        "http://localhost:0/",
        "http://localhost:99999/",
        "http://local\r\nhost/",
        "",
        "http://localhost/" + "x" * 20_000,
        7,
        None,
    ],
)
def test_what_is_no_url_of_a_host_is_refused(service: OutsideCalls, url: Any) -> None:
    assert refusal(service, url).kind == "invalid"


@pytest.mark.parametrize("url", ["http://me:swordfish@localhost/", "http://me:sword/fish@x:y/"])
def test_credentials_in_a_url_are_refused_and_not_told(service: OutsideCalls, url: str) -> None:
    failed = refusal(service, url)

    assert failed.kind == "invalid"
    assert "sword" not in str(failed)


def test_a_query_is_not_told(service: OutsideCalls, server: Loopback) -> None:
    server.pages["/"] = lambda handler: setattr(handler, "close_connection", True)

    failed = refusal(service, server.url("/?key=swordfish"))

    assert failed.kind == "protocol"
    assert "swordfish" not in str(failed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "other"),
        ("host", "other"),
        ("Content-Length", "3"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("Proxy-Authorization", "Basic x"),
        ("TE", "trailers"),
        ("X-Key", "a\r\nHost: other"),
        ("X-Key", "a\nb"),
        ("X-Key", "a\0b"),
        ("X-Key", 7),
        ("X-Key\r\nHost", "other"),
        ("X Key", "a"),
        ("", "a"),
    ],
)
def test_headers_cannot_change_how_a_request_is_sent(
    service: OutsideCalls, server: Loopback, name: str, value: Any
) -> None:
    assert refusal(service, server.url(), headers={name: value}).kind == "invalid"
    assert server.received == []


@pytest.mark.parametrize(
    "request_", [{"headers": ["x"]}, {"body": 7}, {"timeout": 0}, {"timeout": "x"}]
)
def test_a_request_of_another_shape_is_refused(
    service: OutsideCalls, request_: dict[str, Any]
) -> None:
    assert refusal(service, "http://localhost/", **request_).kind == "invalid"


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.255",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "224.0.1.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:808:808::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_inner_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.1",
        "172.32.0.1",
        "192.167.255.255",
        "223.255.255.254",
        "2606:4700::1111",
        "2a00:1450:4001::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("pattern", "host", "port", "allowed"),
    [
        ("example.org", "example.org", 443, True),
        ("Example.ORG", "example.org", 8443, True),
        ("example.org", "example.org.", 443, True),
        ("example.org", "api.example.org", 443, False),
        ("example.org", "badexample.org", 443, False),
        ("example.org", "example.org.evil.com", 443, False),
        ("*.example.org", "api.example.org", 443, True),
        ("*.example.org", "a.b.example.org", 443, True),
        ("*.example.org", "example.org", 443, False),
        ("*.example.org", "badexample.org", 443, False),
        ("example.org:8443", "example.org", 8443, True),
        ("example.org:8443", "example.org", 443, False),
        ("*.example.org:8443", "api.example.org", 8443, True),
        ("*.example.org:8443", "api.example.org", 443, False),
        ("bücher.example", "xn--bcher-kva.example", 443, True),
        ("10.0.0.1", "10.0.0.1", 80, True),
        ("10.0.0.1:81", "10.0.0.1", 80, False),
        ("::1", "::1", 80, True),
        ("[::1]:81", "0:0::1", 81, True),
        ("[::1]:81", "::1", 80, False),
        ("", "example.org", 443, False),
        ("*", "example.org", 443, False),
    ],
)
def test_a_list_of_hosts_allows_what_it_names(
    pattern: str, host: str, port: int, allowed: bool
) -> None:
    assert is_allowed(host, port, ("other.example", pattern)) is allowed

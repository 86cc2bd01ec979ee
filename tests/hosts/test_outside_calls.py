"""What a worker calls for its scripts, what it refuses, and that no server holds it up."""

import contextlib
import datetime
import gzip
import ipaddress
import socket
import ssl
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from scripts.host.http import Response
from scripts.protocol.calls import Program
from scripts.protocol.services import RequestFailed
from scripts.services import connections, outside_calls
from scripts.services.addresses import allowed_host_fault, is_allowed, is_public
from scripts.services.bodies import described
from scripts.services.outside_calls import MAX_BODY_BYTES, OutsideCalls
from tests.loopback import Handler, Loopback, serving
from tests.waiting import PATIENCE, wait_for


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def service() -> Iterator[OutsideCalls]:
    service = OutsideCalls()
    yield service
    service.close()


def program(**rights: Any) -> Program:
    rights = {"network": True, "private_addresses": True} | rights
    return Program(1, "pricing", "python", "", 20, 128, **rights)


def call(
    service: OutsideCalls,
    url: str,
    method: str = "GET",
    *,
    rights: dict[str, Any] | None = None,
    seconds: float = 20,
    **request: Any,
) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    return service(program(**rights or {}), {"method": method, "url": url, **request}, deadline)


def refusal(service: OutsideCalls, url: Any, method: str = "GET", **options: Any) -> RequestFailed:
    with pytest.raises(RequestFailed) as failed:
        call(service, url, method, **options)
    return failed.value


def dripping(handler: Handler, *pieces: bytes) -> None:
    """Send pieces, then a byte now and then for ever."""
    for piece in pieces:
        handler.wfile.write(piece)
    while not handler.loopback.closing.wait(0.05):
        handler.wfile.write(b"x")


# A request and its reply


def test_a_request_arrives_as_it_was_asked_for(service: OutsideCalls, server: Loopback) -> None:
    server.answers("/orders", 201, "ä".encode(), X_Number="7", Content_Type="text/plain")

    reply = call(
        service,
        server.url("/orders?x=1 2#part"),
        "POST",
        headers={"X-Key": "k", "Content-Type": "application/json"},
        body='{"ü": 1}',
    )

    assert (reply["status"], reply["body"], reply["headers"]["x-number"]) == (201, "ä", "7")
    (received,) = server.received
    assert (received.method, received.path) == ("POST", "/orders?x=1%202")
    assert received.body == '{"ü": 1}'.encode()
    assert received.headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept-encoding": "gzip",
        "user-agent": "async-engine",
        "x-key": "k",
        "content-type": "application/json",
        "content-length": "9",
    }


@pytest.mark.parametrize("method", outside_calls.METHODS)
def test_every_method_is_sent(service: OutsideCalls, server: Loopback, method: str) -> None:
    server.answers("/", 200, b"" if method == "HEAD" else b"body", Content_Encoding="identity")

    reply = call(service, server.url(), method)

    assert server.received[0].method == method
    assert reply["body"] == ("" if method == "HEAD" else "body")


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "get", "G ET", "", None, 7])
def test_other_methods_are_refused(service: OutsideCalls, method: Any) -> None:
    assert refusal(service, "http://localhost/", method).kind == "invalid"


def test_a_connection_is_used_again(service: OutsideCalls, server: Loopback) -> None:
    server.answers("/", 200, b"x")

    for _ in range(5):
        call(service, server.url())

    assert len({received.client for received in server.received}) == 1


def test_a_connection_that_the_server_has_closed_is_not_used_again(
    service: OutsideCalls, server: Loopback
) -> None:
    def page(handler: Handler) -> None:
        handler.answer(200, b"x", {})
        handler.close_connection = True

    server.pages["/"] = page

    for _ in range(5):
        assert call(service, server.url(), "POST")["status"] == 200
        # A request that is on its way while the server closes is lost with any client.
        wait_for(lambda: server.closed == len(server.received), 5, "the end of the connection")


def test_text_is_read_as_its_header_says_and_else_as_utf_8(
    service: OutsideCalls, server: Loopback
) -> None:
    server.answers("/latin", 200, b"\xe4", Content_Type="text/plain; charset=ISO-8859-1")
    server.answers("/strange", 200, b"a", Content_Type="text/plain; charset=zlib_codec")

    bodies = [call(service, server.url(path))["body"] for path in ("/latin", "/strange")]

    assert bodies == ["ä", "a"]


def test_the_environment_names_no_proxy(
    service: OutsideCalls, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.answers("/", 200, b"x")

    assert call(service, server.url())["status"] == 200


TEXTS = {
    "utf-8": "Grüße, Żółw, 東京, 🐢",
    "utf-16": "Grüße, 東京, 🐢",
    "utf-16le": "Grüße, 東京, 🐢",
    "utf-16be": "Grüße, 東京, 🐢",
    "utf-32": "Grüße, 🐢",
    "latin1": "Grüße",
    "iso-8859-1": "Grüße",
    "iso-8859-2": "Żółw",
    "iso-8859-5": "Привет",
    "iso-8859-8-i": "שלום",
    "iso-8859-15": "5 €",
    "windows-1250": "Żółw",
    "windows-1251": "Привет",
    "windows-1252": "„5 €“",
    "windows-1256": "سلام",
    "koi8-r": "Привет",
    "koi8-u": "Привіт",
    "gbk": "你好",
    "gb2312": "你好",
    "gb18030": "你好 🐢",
    "big5": "你好",
    "shift_jis": "こんにちは",
    "windows-31j": "①こんにちは",
    "euc-jp": "こんにちは",
    "iso-2022-jp": "こんにちは",
    "euc-kr": "안녕",
    "ks_c_5601-1987": "안녕",
    "macintosh": "Grüße",
}
CODECS = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "iso-8859-8-i": "iso-8859-8"} | {
    "windows-31j": "cp932",
    "ks_c_5601-1987": "cp949",
    "macintosh": "mac_roman",
}


@pytest.mark.parametrize("quotes", ["", '"'])
@pytest.mark.parametrize("charset", TEXTS)
def test_a_body_is_read_in_its_charset_and_its_bytes_are_kept(
    service: OutsideCalls, server: Loopback, charset: str, quotes: str
) -> None:
    content = TEXTS[charset].encode(CODECS.get(charset, charset))
    header = f"text/plain; Charset={quotes}{charset.upper()}{quotes}; format=flowed"
    server.answers("/", 200, content, Content_Type=header)

    reply = call(service, server.url())

    assert reply["body"] == TEXTS[charset]
    assert content_of(reply) == content


@pytest.mark.parametrize("charset", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("is_told", [True, False])
def test_json_may_begin_with_a_byte_order_mark_or_do_without(
    service: OutsideCalls, server: Loopback, charset: str, is_told: bool
) -> None:
    told = f"; charset={charset.replace('f-16-', 'f-16').replace('f-32-', 'f-32')}"
    for path, text in (("/mark", '\ufeff{"a": "ü"}'), ("/none", '{"a": "ü"}')):
        content_type = f"application/json{told if is_told else ''}"
        server.answers(path, 200, text.encode(charset), Content_Type=content_type)

    marked, plain = (call(service, server.url(path)) for path in ("/mark", "/none"))

    assert marked["body"] == plain["body"] == '{"a": "ü"}'
    assert content_of(marked) == '\ufeff{"a": "ü"}'.encode(charset)


@pytest.mark.parametrize(
    ("content", "content_type", "reason"),
    [
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "application/pdf", "byte 10 is not utf-8"),
        (b"a\xffb", "", "byte 1 is not utf-8"),
        (b"\x89PNG\r\n\x1a\n", "image/png", "byte 0 is not utf-8"),
        (b"Gr\xfc\xdfe", "text/plain; charset=utf-8", "byte 2 is not utf-8"),
        (b"a\x98", "text/plain; charset=windows-1251", "byte 1 is not cp1251"),
        (b"a\x00b", "text/plain; charset=utf-16le", "byte 2 is not utf-16-le"),
        (b"Gr\xfc\xdfe", "text/plain; charset=zlib_codec", "its charset 'zlib_codec' is not known"),
        (b"Gr\xfc\xdfe", "text/plain; charset=rot13", "its charset 'rot13' is not known"),
        (b"Gr\xfc\xdfe", "text/plain; charset=idna", "its charset 'idna' is not known"),
        (b"Gr\xfc\xdfe", "text/plain; charset=unicode_escape", "is not known"),
        (b"Gr\xfc\xdfe", "text/plain; charset=" + "x" * 3000, "is not known"),
        (b"Gr\xfc\xdfe", "text/plain; charset=a\x01b", "is not known"),
    ],
)
def test_what_is_no_text_is_there_as_bytes_and_says_why(
    service: OutsideCalls, server: Loopback, content: bytes, content_type: str, reason: str
) -> None:
    server.answers("/", 200, content, Content_Type=content_type)

    reply = call(service, server.url())

    assert reply["body"] is None
    assert reason in reply["noText"]
    assert content_of(reply) == content


@given(
    st.binary(max_size=200),
    st.sampled_from(["", "text/plain", "application/json", "application/pdf", "text/x; charset="]),
    st.sampled_from([*TEXTS, "", "rot13", "utf-7", "hz"]),
)
def test_no_body_loses_a_byte(content: bytes, content_type: str, charset: str) -> None:
    reply = described(
        content, content_type + charset if content_type.endswith("=") else content_type
    )

    assert content_of(reply) == content
    assert ("noText" in reply) == (reply["body"] is None)


def content_of(reply: dict[str, Any]) -> bytes:
    return Response("GET", {"status": 200, "headers": {}, "url": "", **reply}).content


def test_bytes_are_sent_as_they_are(service: OutsideCalls, server: Loopback) -> None:
    content = bytes(range(256))
    server.answers("/", 200, b"")

    call(service, server.url(), "POST", base64=b64encode(content).decode())

    assert server.received[0].body == content
    assert refusal(service, server.url(), "POST", base64="?").kind == "invalid"


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/café".encode(), "/caf%C3%A9"),
        ("/café".encode("latin-1"), "/caf%E9"),
        ("/東京?q=ü".encode(), "/%E6%9D%B1%E4%BA%AC?q=%C3%BC"),
        (b"/caf%C3%A9", "/caf%C3%A9"),
    ],
)
def test_a_redirect_leads_to_the_bytes_that_it_names(
    service: OutsideCalls, server: Loopback, location: bytes, path: str
) -> None:
    def page(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ")
        handler.wfile.write(location + b"\r\n\r\n")

    server.pages["/"] = page

    call(service, server.url())

    assert server.received[1].path == path


def test_headers_are_read_as_utf_8_or_latin_1_and_cookies_stay_apart(
    service: OutsideCalls, server: Loopback
) -> None:
    def page(handler: Handler) -> None:
        handler.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-One: \xc3\xbc\r\nX-Two: \xfc\r\n"
            b"Set-Cookie: a=1; expires=Thu, 01 Jan 2026 00:00:00 GMT\r\nset-cookie: b=2\r\n"
            b"Vary: Accept\r\nVary: Cookie\r\n\r\n"
        )

    server.pages["/"] = page

    headers = call(service, server.url())["headers"]

    assert (headers["x-one"], headers["x-two"]) == ("ü", "ü")
    assert headers["set-cookie"] == "a=1; expires=Thu, 01 Jan 2026 00:00:00 GMT\nb=2"
    assert headers["vary"] == "Accept, Cookie"


@pytest.mark.parametrize("padding", [1, 511, 100_000])
def test_zeros_behind_a_packed_body_are_padding(
    service: OutsideCalls, server: Loopback, padding: int
) -> None:
    packed = gzip.compress(b"bo") + bytes(padding)
    server.answers("/end", 200, packed, Content_Encoding="gzip")
    server.answers("/middle", 200, packed + gzip.compress(b"dy"), Content_Encoding="gzip")
    server.answers("/garbage", 200, packed + b"garbage", Content_Encoding="gzip")

    assert call(service, server.url("/end"))["body"] == "bo"
    assert call(service, server.url("/middle"))["body"] == "body"
    assert refusal(service, server.url("/garbage")).kind == "protocol"


# Connections and what is left on them


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

    wait_for(lambda: server.closed == 1)


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


# What is refused


def test_a_script_without_network_may_call_nobody(service: OutsideCalls, server: Loopback) -> None:
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


# Names and their addresses


@pytest.fixture
def one_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take 127.0.0.1 for a public address and all others for private ones."""
    monkeypatch.setattr(connections, "is_public", lambda address: str(address) == "127.0.0.1")


def resolver(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Have names resolve to these addresses, one answer after the other; return what is asked."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        asked.append(host)
        addresses = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses]

    class Resolver:
        SOCK_STREAM = socket.SOCK_STREAM

    Resolver.getaddrinfo = staticmethod(getaddrinfo)  # type: ignore[attr-defined]
    monkeypatch.setattr(connections, "socket", Resolver)
    return asked


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


# Redirects


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


# Servers that hold up or overwhelm


def test_a_server_that_answers_slowly_is_not_waited_for(
    service: OutsideCalls, server: Loopback
) -> None:
    head = b"HTTP/1.1 200 OK\r\n"
    server.pages["/silent"] = lambda handler: handler.loopback.closing.wait(20)
    server.pages["/head"] = lambda handler: dripping(handler, head, b"X-Long: ")
    server.pages["/body"] = lambda handler: dripping(handler, head, b"Content-Length: 9999\r\n\r\n")

    for path in ("/silent", "/head", "/body"):
        begun_at = time.monotonic()
        failed = refusal(service, server.url(path), timeout=0.3)
        assert failed.kind == "timeout"
        assert time.monotonic() - begun_at >= 0.3


def test_a_request_ends_before_the_time_of_its_script(
    service: OutsideCalls, server: Loopback
) -> None:
    server.pages["/"] = lambda handler: handler.loopback.closing.wait()

    # Its own time would be more than the test's.
    assert refusal(service, server.url(), seconds=0.7, timeout=3600).kind == "timeout"


def test_a_host_that_takes_no_connection_is_not_waited_for(service: OutsideCalls) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        failed = refusal(service, url, timeout=0.3)

        for one in waiting:
            one.close()
    assert failed.kind == "timeout"


def test_a_refused_connection_is_named(service: OutsideCalls) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    failed = refusal(service, f"http://127.0.0.1:{port}/")

    assert failed.kind == "connect"
    assert f"127.0.0.1:{port}" in str(failed)


def test_a_body_may_not_be_too_large(service: OutsideCalls, server: Loopback) -> None:
    server.answers("/fits", 200, b"x" * MAX_BODY_BYTES)
    server.answers("/large", 200, b"x" * (MAX_BODY_BYTES + 1))

    def endless(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not handler.loopback.closing.is_set():
            handler.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    server.pages["/endless"] = endless

    assert len(call(service, server.url("/fits"))["body"]) == MAX_BODY_BYTES
    assert refusal(service, server.url("/large")).kind == "too-large"
    assert refusal(service, server.url("/endless")).kind == "too-large"


def test_packed_bodies_are_unpacked_up_to_the_same_size(
    service: OutsideCalls, server: Loopback
) -> None:
    bodies = {
        "/once": gzip.compress(b"body"),
        "/twice": gzip.compress(b"bo") + gzip.compress(b"dy"),
        "/fits": gzip.compress(b"x" * MAX_BODY_BYTES),
        "/bomb": gzip.compress(b"x" * 40_000_000),
        "/empties": gzip.compress(b"") * 450_000,
        "/half": gzip.compress(b"body")[:-9],
        "/none": b"no gzip",
    }
    for path, body in bodies.items():
        server.answers(path, 200, body, Content_Encoding="gzip")

    assert call(service, server.url("/once"))["body"] == "body"
    assert call(service, server.url("/twice"))["body"] == "body"
    assert len(call(service, server.url("/fits"))["body"]) == MAX_BODY_BYTES
    assert call(service, server.url("/once"), "HEAD")["body"] == ""
    kinds = [refusal(service, server.url(p)).kind for p in ("/bomb", "/empties", "/half", "/none")]
    assert kinds == ["too-large", "too-large", "protocol", "protocol"]


def test_a_bomb_is_not_unpacked_further_than_to_its_limit(
    service: OutsideCalls, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[int] = []

    class Counting:
        MAX_WBITS, error = zlib.MAX_WBITS, zlib.error

        def __init__(self, bits: int) -> None:
            self._real = zlib.decompressobj(bits)

        def decompress(self, *args: Any) -> bytes:
            data = self._real.decompress(*args)
            unpacked.append(len(data))
            return data

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    Counting.decompressobj = Counting  # type: ignore[attr-defined]
    monkeypatch.setattr(outside_calls, "zlib", Counting)
    server.answers("/", 200, gzip.compress(b"x" * 40_000_000), Content_Encoding="gzip")

    refusal(service, server.url())

    assert sum(unpacked) <= MAX_BODY_BYTES + 64 * 1024


def test_other_encodings_are_refused(service: OutsideCalls, server: Loopback) -> None:
    server.answers("/", 200, b"x", Content_Encoding="br")

    assert refusal(service, server.url()).kind == "protocol"


@pytest.mark.parametrize(
    "answer",
    [b"", b"no HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"],
)
def test_an_answer_that_is_no_http_is_named(
    service: OutsideCalls, server: Loopback, answer: bytes
) -> None:
    def page(handler: Handler) -> None:
        handler.wfile.write(answer)
        handler.close_connection = True

    server.pages["/"] = page

    assert refusal(service, server.url()).kind == "protocol"


# TLS


def certificate(tmp_path: Path, name: str) -> Path:
    """Make a certificate for a name, signed by itself, in a file with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / f"{name}.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


def test_a_certificate_is_checked_against_the_name_whatever_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, "shop.example")
    serves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serves.load_cert_chain(file)
    trusting = OutsideCalls(tls=ssl.create_default_context(cafile=str(file)))
    doubting = OutsideCalls()
    resolver(monkeypatch, ["127.0.0.1"])

    with serving(serves) as server:
        server.answers("/", 200, b"x")
        url = server.url(host="shop.example", scheme="https")
        assert call(trusting, url)["status"] == 200
        unknown = refusal(doubting, url)
        misnamed = refusal(trusting, server.url(host="other.example", scheme="https"))
        server.answers("/down", 302, Location="http://shop.example/")
        downgraded = refusal(trusting, url + "down")
    trusting.close()

    doubting.close()

    assert [failed.kind for failed in (unknown, misnamed)] == ["tls", "tls"]
    assert "other.example" in str(misnamed)
    assert downgraded.kind == "redirects"


# To be tried again later


def test_a_time_to_wait_is_read_in_seconds_and_as_a_date(
    service: OutsideCalls, server: Loopback
) -> None:
    now = datetime.datetime.now(datetime.UTC)
    in_a_minute = format_datetime(now + datetime.timedelta(seconds=60), usegmt=True)
    long_ago = format_datetime(now - datetime.timedelta(days=60), usegmt=True)

    def after(value: str, status: int = 429) -> float | None:
        server.answers("/", status, Retry_After=value)
        return call(service, server.url()).get("retryAfter")

    assert after("17") == 17
    assert after("17", 503) == 17
    assert after(in_a_minute) == pytest.approx(60, abs=3)
    assert after(long_ago) == 0
    assert after("99999999") == outside_calls.MAX_RETRY_AFTER_SECONDS
    assert [after(value) for value in ("-1", "soon", "", "1e9", "²")] == [None] * 5
    assert after("17", 500) is None


@pytest.mark.parametrize(
    "host",
    ["example.org", "*.example.org:8443", "bücher.example", "127.0.0.1:80", "::1", "[::1]:80"],
)
def test_a_name_or_an_address_can_be_an_allowed_host(host: str) -> None:
    assert allowed_host_fault(host) == ""


@pytest.mark.parametrize("host", ["https://example.org", "example.org/path", "a b", "a@b", "*"])
def test_what_is_no_host_cannot_be_an_allowed_one(host: str) -> None:
    assert allowed_host_fault(host) == f"{host} is not the name of a host."

"""A request and its reply."""

import gzip
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.host.http import Response
from scripts.services import outside_calls
from scripts.services.bodies import described
from scripts.services.outside_calls import OutsideCalls
from tests.hosts.outside_calls.helpers import call, refusal
from tests.loopback import Handler, Loopback
from tests.waiting import wait_for


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

"""Servers that hold up or overwhelm; TLS; To be tried again later."""

import datetime
import gzip
import socket
import ssl
import time
import zlib
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scripts.services import outside_calls
from scripts.services.addresses import allowed_host_fault
from scripts.services.outside_calls import MAX_BODY_BYTES, OutsideCalls
from tests.hosts.outside_calls.helpers import call, dripping, refusal, resolver
from tests.loopback import Handler, Loopback, serving
from tests.waiting import PATIENCE


def test_a_server_that_answers_slowly_is_not_waited_for(
    service: OutsideCalls, server: Loopback
) -> None:
    head = b"HTTP/1.1 200 OK\r\n"
    server.pages["/silent"] = lambda handler: handler.loopback.closing.wait(PATIENCE)
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


@pytest.mark.long
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


def test_a_date_without_a_zone_is_utc_wherever_the_worker_is(
    service: OutsideCalls, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_minute = time.asctime(time.gmtime(time.time() + 60))
    server.answers("/", 429, Retry_After=in_a_minute)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        reply = call(service, server.url())
    finally:
        monkeypatch.undo()
        time.tzset()

    assert reply["retryAfter"] == pytest.approx(60, abs=3)


@pytest.mark.parametrize(
    "host",
    ["example.org", "*.example.org:8443", "bücher.example", "127.0.0.1:80", "::1", "[::1]:80"],
)
def test_a_name_or_an_address_can_be_an_allowed_host(host: str) -> None:
    assert allowed_host_fault(host) == ""


@pytest.mark.parametrize("host", ["https://example.org", "example.org/path", "a b", "a@b", "*"])
def test_what_is_no_host_cannot_be_an_allowed_one(host: str) -> None:
    assert allowed_host_fault(host) == f"{host} is not the name of a host."

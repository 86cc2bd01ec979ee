"""Webhooks without a database: signatures, waits, and the addresses that they may have."""

from __future__ import annotations

import ipaddress
import json
import time
from base64 import b64decode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from flows.models.webhook_url import LONGEST_URL, is_private, url_fault
from flows.webhooks.retries import ATTEMPTS, retry_after, wait_after
from flows.webhooks.secrets import PREFIX, new_secret
from flows.webhooks.shown import shown_url
from flows.webhooks.signature import signed_headers

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


def key_of(secret: str) -> bytes:
    return b64decode(secret.removeprefix(PREFIX))


def test_receiver_verifies_a_message_with_either_secret_while_one_is_replaced():
    new, old, other = new_secret(), new_secret(), new_secret()
    body = json.dumps({"type": "run.completed", "text": "ä"}).encode()

    headers = signed_headers("id-1", int(time.time()), body, [key_of(new), key_of(old)])

    for secret in (new, old):
        assert Webhook(secret).verify(body, headers) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(body + b" ", headers)


def test_attempts_go_on_for_about_a_day():
    waits = [wait_after(number) for number in range(1, ATTEMPTS)]

    total = sum((wait for wait in waits if wait), timedelta())
    assert timedelta(hours=20) < total < timedelta(hours=28)
    assert waits[:1] < [timedelta(seconds=6)]
    assert wait_after(ATTEMPTS) is None


@pytest.mark.parametrize(
    ("header", "least"),
    [
        ("120", timedelta(minutes=2)),
        ("Mon, 02 Nov 2026 09:40:00 GMT", timedelta(minutes=10)),
        ("999999999", timedelta(hours=1)),
        *((text, timedelta(seconds=4)) for text in ("", "soon", "-5", "0", "1e9", "9" * 40)),
        ("Mon, 02 Nov 2020 09:40:00 GMT", timedelta(seconds=4)),
    ],
)
def test_receiver_may_ask_for_a_longer_wait_up_to_an_hour(header, least):
    wait = wait_after(1, retry_after(header, NOW))

    assert wait is not None
    assert least <= wait <= max(least, timedelta(seconds=6))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org",
        "http://example.org:8080/a/b?c=d",
        "https://ex_ample.example.org./",
        "https://münchen.example/ü?q=ä",
        "https://[2606:4700::1111]:8443/",
        "https://1.1.1.1/",
    ],
)
def test_public_address_has_no_fault(url):
    assert url_fault(url) == ""
    assert not is_private(url)


@pytest.mark.parametrize(
    "url",
    [
        *("", "example.org", "//example.org/", "ftp://example.org/", "https:///path", "https://"),
        *("https://user@example.org/", "https://user:pass@example.org/", "https://:p@example.org/"),
        *("https://example.org:0/", "https://example.org:70000/", "https://exa mple.org/"),
        *("https://example.org/\n", "https://example.org/\x00", "https://..1/", "https://a..b/"),
        *("https://%31%32%37.0.0.1/", "https://[fe80::1%25eth0]/", "https://[::1/", "javascript:1"),
        "http://1.1.1.1\\@127.0.0.1/",
        "https://example.org/" + "a" * LONGEST_URL,
        None,
        17,
    ],
)
def test_what_is_no_address_of_a_receiver_is_refused(url):
    assert url_fault(url)


NETWORKS = (
    *("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    *("100.64.0.0/10", "0.0.0.0/8", "224.0.0.0/4", "168.63.129.16/32", "240.0.0.0/4"),
)
INNER = st.sampled_from(NETWORKS).flatmap(lambda network: st.ip_addresses(network=network))


def spellings(address: ipaddress.IPv4Address) -> list[str]:
    """Return the ways in which resolvers take an IPv4 address."""
    number, parts = int(address), str(address).split(".")
    first, second, *_ = map(int, parts)
    return [
        str(address),
        f"{address}.",
        str(number),
        hex(number),
        f"0{number:o}",
        ".".join(hex(int(part)) for part in parts),
        f"{first}.{number & 0xFFFFFF}",
        f"{first}.{second}.{number & 0xFFFF}",
        f"0x{first:02X}.{number & 0xFFFFFF:#o}".replace("0o", "0"),
        f"[::ffff:{address}]",
        f"[{ipaddress.IPv6Address(0xFFFF << 32 | number)}]",
        f"[64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}]",
    ]


@given(address=INNER, data=st.data())
def test_private_address_is_seen_however_it_is_written(address, data):
    host = data.draw(st.sampled_from(spellings(address)))

    url = f"http://{host}:8080/path"

    assert url_fault(url) or is_private(url)


@pytest.mark.parametrize(
    "host", ["[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[ff02::1]", "[2002:7f00:1::]", "0"]
)
def test_private_ipv6_address_is_seen(host):
    assert is_private(f"https://{host}/")


def test_query_is_not_shown():
    assert shown_url("https://a.example/b?token=1") == "https://a.example/b?…"
    assert shown_url("https://a.example/b") == "https://a.example/b"

"""Addresses of webhooks: how one is written, and which private ones are seen without a look-up.

Names are looked up at each delivery, see `flows/webhooks`, and never here.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from scripts.services.addresses import is_public

LONGEST_URL = 2_000
_HOST = re.compile(r"[0-9a-z_-]+(\.[0-9a-z_-]+)*\.?|[0-9a-f:.]*:[0-9a-f:.]*", re.IGNORECASE)


def url_fault(url: Any) -> str:
    """Say what is wrong with an address, "" where nothing is."""
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        return "must be a URL"
    if len(url) > LONGEST_URL:
        return f"must have at most {LONGEST_URL:,} characters"
    # Late here and below: few processes look at an address, and the client is large.
    import httpx

    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return "must be a URL"
    if parts.scheme not in ("http", "https"):
        return "must begin with https:// or http://"
    if parts.userinfo:
        return "must have no user name and no password"
    host = parts.raw_host.decode("ascii", "replace")
    if not _HOST.fullmatch(host):
        return "must have the name or the address of a host"
    if parts.port is not None and not 0 < parts.port < 65536:
        return "must have a port from 1 to 65535"
    return ""


def is_private(url: str) -> bool:
    """Whether the host of a URL without a fault is written as an address that is not public."""
    import httpx

    address = _address_in(httpx.URL(url).raw_host.decode("ascii"))
    return address is not None and not is_public(address)


def _address_in(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is written as, None for a name.

    Resolvers take an IPv4 address also as one number, with fewer parts, in octal and in hex.
    """
    host = host.removesuffix(".")
    with suppress(ValueError):
        return ipaddress.ip_address(host)
    with suppress(OSError):
        return IPv4Address(socket.inet_aton(host))
    return None

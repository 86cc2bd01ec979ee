"""The address of a caller, behind trusted proxies."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from django.conf import settings

# A caller with IPv6 has a whole network of at least this prefix.
IPV6_PREFIX = 64


def caller_address(request: Any) -> str:
    """Return the caller's address. An address of IPv6 is whole."""
    text = _address_text(request)
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def caller_network(request: Any) -> str:
    """Return the caller's address; for IPv6 the network that one caller has."""
    text = caller_address(request)
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), IPV6_PREFIX), strict=False))
    return text


def _address_text(request: Any) -> str:
    """Return what the outermost trusted proxy says, as REST framework does with NUM_PROXIES."""
    options = getattr(settings, "REST_FRAMEWORK", {})
    proxies = options.get("NUM_PROXIES", settings.ASYNCENGINE_PROXIES) or 0
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR")
    if proxies == 0 or not forwarded:
        return str(request.META.get("REMOTE_ADDR") or "").strip()
    said = forwarded.split(",")
    return str(said[-min(proxies, len(said))]).strip()

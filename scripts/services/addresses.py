"""Which hosts a script may call: its allowed names, and the addresses that are public."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

# Special networks that `ipaddress` does not know, or not in every version.
_SPECIAL_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # shared by the customers of a provider; metadata at some clouds
        "168.63.129.16/32",  # the wire server of Azure
        "192.0.0.0/24",  # protocol assignments; metadata at some clouds
        "192.88.99.0/24",  # relays of 6to4
        "198.18.0.0/15",
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")

_NAME_OR_ADDRESS = re.compile(
    r"(\*\.)?[\w-]+(\.[\w-]+)*\.?(:\d{1,5})?|\[[0-9a-f:.]+\](:\d{1,5})?|[0-9a-f.]*:[0-9a-f:.]+",
    re.IGNORECASE,
)


# The name of a value, which is no port.
_REFERENCE = re.compile(r"config:([a-z_][a-z0-9_.-]*)")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address belongs to the open internet and to no inner network."""
    if isinstance(address, IPv6Address):
        return _is_public_v6(address)
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _SPECIAL_V4)
    )


def _is_public_v6(address: IPv6Address) -> bool:
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return (
        address in _GLOBAL_UNICAST
        and address.is_global
        and not any(address in network for network in _SPECIAL_V6)
    )


def allowed_host_fault(host: str) -> str:
    """Return why a text, such as a whole URL, allows no host; "" where it allows one."""
    if is_reference(host):
        return ""
    return "" if _NAME_OR_ADDRESS.fullmatch(host) else f"{host} is not the name of a host."


def is_reference(host: str) -> bool:
    """Whether an entry of the list names a value of the installation."""
    return _REFERENCE.fullmatch(host) is not None


def missing_values(hosts: tuple[str, ...], values: Mapping[str, str]) -> list[str]:
    """Return the names of values to which hosts refer, and which are not there."""
    references = filter(None, map(_REFERENCE.fullmatch, hosts))
    return [each[1] for each in references if not values.get(each[1], "").strip()]


def resolved(hosts: tuple[str, ...], values: Mapping[str, str]) -> tuple[str, ...]:
    """Put values of the installation for references. A value has hosts, or URLs of such.

    Names with * in values do not count. A reference without a value stands for no host: it stays
    as it is, which matches none.
    """
    found: list[str] = []
    for host in hosts:
        reference = _REFERENCE.fullmatch(host)
        if reference is None:
            found.append(host)
            continue
        named = map(_host_of, values.get(reference[1], "").split())
        found += [each for each in named if each and "*" not in each] or [host]
    return tuple(found)


def _host_of(text: str) -> str:
    """Return the host, with its port, of a URL, or of a text that is one."""
    if "://" not in text:
        return text if not allowed_host_fault(text) and not is_reference(text) else ""
    # Late here and below: the models need this module, and few processes ask for an address.
    import httpx

    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        return ""
    return url.netloc.decode("ascii")


def is_allowed(host: str, port: int, allowed: tuple[str, ...]) -> bool:
    """Whether a host is among the allowed ones.

    These are `example.org`, or `*.example.org` for every name below it, or an address, each
    with any port, or with the port after a colon.
    """
    return any(_matches(host, port, pattern) for pattern in allowed)


def _matches(host: str, port: int, pattern: str) -> bool:
    is_wildcard = pattern.startswith("*.")
    name, wanted_port = _parts(pattern.removeprefix("*."))
    if wanted_port is not None and wanted_port != port:
        return False
    host = plain_host(host)
    return host.endswith(f".{name}") if is_wildcard else host == name


def _parts(pattern: str) -> tuple[str, int | None]:
    """Read a host as it is written in a list, with its port if it has one."""
    pattern = pattern.strip()
    try:
        return ipaddress.ip_address(pattern).compressed, None
    except ValueError:
        pass
    name, colon, port = pattern.rpartition(":")
    if not colon or not port.isdigit():
        return _encoded(pattern), None
    return _encoded(name), int(port)


def _encoded(name: str) -> str:
    """Return a name as the URL of a request has it, without umlauts."""
    import httpx

    try:
        return plain_host(httpx.URL(scheme="http", host=name.strip("[]")).raw_host.decode())
    except (httpx.InvalidURL, ValueError):
        return name


def plain_host(host: str) -> str:
    """Return one form for all ways of writing the same host."""
    host = host.lower().removesuffix(".")
    try:
        return ipaddress.ip_address(host).compressed
    except ValueError:
        return host

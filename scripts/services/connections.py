"""Connections of the worker to the outside, to checked addresses and with deadlines.

A name is resolved once, here, and the connection is made to one of the checked addresses. So a
second look-up cannot replace a checked address by a refused one. Certificates are still checked
against the name.

The timeouts that httpcore passes on are deadlines here, by the monotonic clock: a server that sends
a byte now and then gets no more time.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from queue import Empty, SimpleQueue
from typing import Any

import httpcore

from scripts.protocol.services import Deadline, RequestFailed
from scripts.services.addresses import is_public

# The system's resolver may take longer than a script may. This is the most look-ups of one script
# version at a time, so that it does not block the look-ups of others.
_MAX_LOOKUPS = 16


class CheckedNetwork(httpcore.NetworkBackend):
    """Connects to public addresses, and to private ones where these are granted."""

    def __init__(self, *, private: bool) -> None:
        self._private = private
        self._lookups = threading.BoundedSemaphore(_MAX_LOOKUPS)
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: Deadline | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._addresses(host, port, timeout)
        for remaining in range(len(addresses), 0, -1):
            seconds = _seconds_until(timeout, httpcore.ConnectTimeout) / remaining
            try:
                address = str(addresses[-remaining])
                return TimedStream(self._plain.connect_tcp(address, port, seconds))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if remaining == 1:
                    raise
        raise RequestFailed(f"{host} has no address.", "dns")

    def _addresses(
        self, host: str, port: int, until: Deadline | None
    ) -> list[IPv4Address | IPv6Address]:
        found = resolve(host, port, until, self._lookups)
        good = [address for address in found if self._private or is_public(address)]
        if found and not good:
            raise RequestFailed(
                f"The script may not call {host}: its address {found[0]} is not a public one,"
                " which needs privateAddresses.",
                "private-address",
            )
        return good


class TimedStream(httpcore.NetworkStream):
    """A connection whose reads and writes end at their deadlines."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: Deadline | None = None) -> bytes:
        return self._stream.read(max_bytes, _seconds_until(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: Deadline | None = None) -> None:
        for start in range(0, len(buffer), 64 * 1024):
            seconds = _seconds_until(timeout, httpcore.WriteTimeout)
            self._stream.write(buffer[start : start + 64 * 1024], seconds)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: Deadline | None = None,
    ) -> httpcore.NetworkStream:
        seconds = _seconds_until(timeout, httpcore.ConnectTimeout)
        return TimedStream(self._stream.start_tls(ssl_context, server_hostname, seconds))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()


def resolve(
    host: str, port: int, until: Deadline | None, lookups: threading.BoundedSemaphore
) -> list[IPv4Address | IPv6Address]:
    """Return the addresses of a host. Raises RequestFailed where they are not found in time."""
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    found = _look_up(host, port, _seconds_until(until, httpcore.ConnectTimeout), lookups)
    # An IPv6 address may have a scope, which its other notations do not have.
    texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
    return [ipaddress.ip_address(text) for text in texts]


def _look_up(
    host: str, port: int, seconds: float, lookups: threading.BoundedSemaphore
) -> list[Any]:
    answer: SimpleQueue[list[Any] | Exception] = SimpleQueue()

    def look_up() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.put(error)
        finally:
            lookups.release()

    begun_at = time.monotonic()
    if not lookups.acquire(timeout=seconds):
        raise RequestFailed(f"The look-up of {host} had to wait for too long.", "timeout")
    try:
        threading.Thread(target=look_up, name="script-lookup", daemon=True).start()
    except RuntimeError:
        # The system lets none be made now.
        lookups.release()
        raise
    try:
        found = answer.get(timeout=max(0.001, begun_at + seconds - time.monotonic()))
    except Empty:
        raise RequestFailed(f"The look-up of {host} took too long.", "timeout") from None
    if isinstance(found, Exception):
        raise RequestFailed(f"The host {host} is not known: {found}", "dns")
    return found


def _seconds_until(deadline: Deadline | None, too_late: type[Exception]) -> float:
    if deadline is None:
        raise TypeError("a connection needs a deadline")
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise too_late("it took too long")
    return seconds

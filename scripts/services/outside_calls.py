"""HTTP requests that a worker makes for its scripts.

    OutsideCalls    the service: from the request of a script, over redirects, to the reply
    Hop             one request to one URL, checked
    _exchange       makes it and reads the answer, within limits of time and size

`connections.py` makes connections and checks their addresses; `bodies.py` decodes the bytes of an
answer.
"""

from __future__ import annotations

import email.utils
import re
import ssl
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

import httpcore
import httpx

from scripts.protocol.calls import Program
from scripts.protocol.services import Deadline, RequestFailed, Service
from scripts.services.addresses import (
    is_allowed,
    is_reference,
    missing_values,
    plain_host,
    resolved,
)
from scripts.services.bodies import described, header_text, location_text
from scripts.services.connections import CheckedNetwork
from scripts.services.identities import digest, tls_context
from scripts.services.request_parts import authorization, body_of, secret_name
from scripts.traces import outside_call

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_REDIRECTS = 5
MAX_URL_LENGTH = 16 * 1024
# The longest wait that a server can ask for: a longer Retry-After is cut to this.
MAX_RETRY_AFTER_SECONDS = 3600
DEFAULT_SECONDS = 10.0
CONNECT_SECONDS = 5.0
# The time before its limit at which a script gets an error that names the server without an answer.
_SPARE_SECONDS = 0.2
# Shorter than the time after which servers close idle connections: a request on one would fail.
_KEEP_ALIVE_SECONDS = 1.5
# The time without calls after which the connections of a script are closed.
_IDLE_SECONDS = 10.0
# Methods that can be repeated where a server has just closed the connection: they change nothing.
_SAFE_METHODS = ("GET", "HEAD")

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_THROTTLED = (429, 503)
_REDIRECTS = (301, 302, 303, 307, 308)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")
# Hop-by-hop headers are set by the client, not by the script.
_OWN_HEADERS = re.compile(
    "accept-encoding|connection|content-length|expect|host|keep-alive|proxy-.*|te|trailer"
    "|transfer-encoding|upgrade"
)
# Headers that are not sent on to another origin than the one that the script has named.
_CONFIDENTIAL = re.compile(r"auth|cookie|credential|key|pass|secret|session|signature|token")


class OutsideCalls:
    """The service `http`: {method, url, headers, body, timeout} to {status, headers, body, url}.

    `retryAfter`, in seconds, is in the reply where the server answered 429 or 503 with a time.
    Bytes are passed as `base64`, other bodies as `form` and `files`, credentials as `auth`. `ca`
    and `cert` are names of secrets. Each version of a script has connections of its own.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        secrets: Service | None = None,
        config: Service | None = None,
    ) -> None:
        """Take the TLS of ordinary calls, and the services of secrets and of values."""
        self._tls = tls
        self._secrets = secrets
        self._config = config
        self._lock = threading.Lock()
        self._pools: dict[tuple[int, str, bool, str], _Pool] = {}

    def __call__(
        self, program: Program, request: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        if not program.network:
            raise RequestFailed(
                "The script may not make outside calls: its network access is off.", "network-off"
            )
        hop = Hop.first(request)
        limit, deadline = deadline - _SPARE_SECONDS, time.monotonic() + _seconds(request)
        if limit < deadline:
            deadline, hop = limit, replace(hop, is_cut=True)
        for _ in range(MAX_REDIRECTS + 1):
            self._require_allowed(program, hop, deadline)
            reply, location = self.exchange(program, hop, deadline)
            if location is None:
                return reply
            hop = hop.redirected(reply["status"], location)
        raise RequestFailed(
            f"{hop.place} leads to more than {MAX_REDIRECTS} redirects.", "redirects"
        )

    def _require_allowed(self, program: Program, hop: Hop, deadline: Deadline) -> None:
        """Raises RequestFailed. Values of the installation count for references to them."""
        hosts = program.allowed_hosts
        if not any(map(is_reference, hosts)):
            hop.require_allowed(hosts)
            return
        if self._config is None:
            raise RequestFailed("There are no values of the installation here.", "invalid")
        try:
            hop.require_allowed(resolved(hosts, self._config(program, {}, deadline)["values"]))
        except RequestFailed:
            # A value may just have been entered.
            values = self._config(program, {"isNewest": True}, deadline)["values"]
            hop.require_allowed(resolved(hosts, values), missing_values(hosts, values))

    def exchange(
        self, program: Program, hop: Hop, deadline: Deadline
    ) -> tuple[dict[str, Any], str | None]:
        """Make one request; return the reply, and the target if it is a redirect."""
        ca, certificate = (
            self._secret(program, name, deadline) for name in (hop.ca, hop.certificate)
        )
        with (
            self._pool(program, ca, certificate) as pool,
            outside_call(hop.method, hop.url.scheme, hop.host, hop.port) as call,
        ):
            if call.headers:
                hop = replace(hop, headers={**call.headers, **hop.headers})
            reply, location = _exchange(pool, hop, deadline)
            call.note_status(reply["status"])
            return reply, location

    def _secret(self, program: Program, name: str, deadline: Deadline) -> str:
        if not name:
            return ""
        if self._secrets is None:
            raise RequestFailed(f"There is no secret {name!r} here.", "invalid")
        value: str = self._secrets(program, {"name": name}, deadline)["value"]
        return value

    def close(self) -> None:
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            pool.connections.close()

    @contextmanager
    def _pool(
        self, program: Program, ca: str, certificate: str
    ) -> Iterator[httpcore.ConnectionPool]:
        """Yield the connections of a script version, for one request."""
        identity = digest(ca, certificate)
        key = (program.version_id, program.name, program.private_addresses, identity)
        with self._lock:
            self._close_idle_pools()
            if key not in self._pools:
                if identity:
                    tls = tls_context(ca, certificate)
                else:
                    # Reading the certificates of all authorities takes long.
                    tls = self._tls = self._tls or httpcore.default_ssl_context()
                self._pools[key] = _Pool(_new_pool(tls, program.private_addresses))
            pool = self._pools[key]
            pool.users += 1
        try:
            yield pool.connections
        finally:
            with self._lock:
                pool.users -= 1
                pool.used_at = time.monotonic()

    def _close_idle_pools(self) -> None:
        until = time.monotonic() - _IDLE_SECONDS
        for key, pool in list(self._pools.items()):
            if not pool.users and pool.used_at < until:
                self._pools.pop(key).connections.close()


@dataclass(slots=True)
class _Pool:
    """The connections of one script version, and how many requests are using them."""

    connections: httpcore.ConnectionPool
    users: int = 0
    used_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Hop:
    """A request to one URL."""

    method: str
    url: httpx.URL
    headers: dict[str, str]
    body: bytes
    # The names of secrets: the authority of the server, and who calls.
    ca: str = ""
    certificate: str = ""
    # The script's time limit comes before that of the request.
    is_cut: bool = False

    @classmethod
    def first(cls, request: dict[str, Any]) -> Hop:
        method = request.get("method")
        if method not in METHODS:
            raise RequestFailed(f"The method must be one of {', '.join(METHODS)}.", "invalid")
        content, kind = body_of(request)
        url, headers = _url(request.get("url")), _headers(request.get("headers") or {})
        if url.userinfo:
            raise RequestFailed("Credentials belong into a header, not into the URL.", "invalid")
        # The parts of a form are found by a word in its type.
        if kind and (kind.startswith("multipart/") or "content-type" not in headers):
            headers["content-type"] = kind
        if request.get("auth") is not None:
            if "authorization" in headers:
                raise RequestFailed("A request has auth or the header Authorization.", "invalid")
            headers["authorization"] = authorization(request["auth"])
        names = (secret_name(option, request.get(option)) for option in ("ca", "cert"))
        ca, certificate = names
        return cls(method, url, headers, content, ca, certificate)

    @property
    def host(self) -> str:
        return plain_host(self.url.raw_host.decode("ascii"))

    @property
    def port(self) -> int:
        return self.url.port or _DEFAULT_PORTS[self.url.scheme]

    @property
    def place(self) -> str:
        """The URL without its query, which often holds secrets, for logs and errors."""
        return f"{self.url.scheme}://{self.url.netloc.decode('ascii')}{self.url.path}"[:500]

    def require_allowed(self, allowed: tuple[str, ...], missing: Sequence[str] = ()) -> None:
        """Raises RequestFailed, which names values of the installation that are missing."""
        if allowed and not is_allowed(self.host, self.port, allowed):
            names = ", ".join(map(repr, missing))
            raise RequestFailed(
                f"The script may not call {self.host}:{self.port}: it is not among its allowed"
                f" hosts{f', and no value is there for {names}' if missing else ''}.",
                "host-not-allowed",
            )

    def redirected(self, status: int, location: str) -> Hop:
        url = _url(location, self.url).copy_with(userinfo=b"")
        if (self.url.scheme, url.scheme) == ("https", "http"):
            raise RequestFailed(f"{self.place} leads from https to http.", "redirects")
        hop = replace(self, url=url)
        if (hop.url.scheme, hop.host, hop.port) != (self.url.scheme, self.host, self.port):
            hop = replace(hop, headers=_without(self.headers, _CONFIDENTIAL), certificate="")
        if status == 303 or (status in (301, 302) and self.method == "POST"):
            headers = _without(hop.headers, re.compile("^content-"))
            hop = replace(hop, method="HEAD" if self.method == "HEAD" else "GET", body=b"")
            hop = replace(hop, headers=headers)
        return hop

    def for_httpcore(self, deadline: Deadline, progress: _Progress) -> httpcore.Request:
        url = httpcore.URL(
            scheme=self.url.raw_scheme,
            host=self.url.raw_host,
            port=self.url.port,
            target=self.url.raw_path,
        )
        headers = [
            (b"Host", self.url.netloc),
            (b"Accept-Encoding", b"gzip"),
            *((name.encode("ascii"), value.encode()) for name, value in self.headers.items()),
        ]
        if self.body or self.method in ("PATCH", "POST", "PUT"):
            headers.append((b"Content-Length", str(len(self.body)).encode("ascii")))
        connected = min(deadline, time.monotonic() + CONNECT_SECONDS)
        # Deadlines, see connections.py, except for the pool's, which httpcore itself applies.
        deadlines = {"connect": connected, "read": deadline, "write": deadline}
        timeouts = deadlines | {"pool": deadline - time.monotonic()}
        extensions = {"timeout": timeouts, "trace": progress.note}
        return httpcore.Request(
            self.method, url, headers=headers, content=self.body, extensions=extensions
        )


def _new_pool(tls: ssl.SSLContext, private: bool) -> httpcore.ConnectionPool:
    return httpcore.ConnectionPool(
        ssl_context=tls,
        max_connections=100,
        max_keepalive_connections=20,
        keepalive_expiry=_KEEP_ALIVE_SECONDS,
        network_backend=CheckedNetwork(private=private),
    )


def _exchange(
    pool: httpcore.ConnectionPool, hop: Hop, deadline: Deadline
) -> tuple[dict[str, Any], str | None]:
    """Make a request; return the reply, and the target if it is a redirect.

    A server may close an idle connection just as a request is sent on it. A safe request is then
    sent again, once for each such connection.
    """
    while True:
        progress = _Progress()
        try:
            return _exchange_once(pool, hop, deadline, progress)
        except httpcore.TimeoutException:
            by = "before the time limit of the script" if hop.is_cut else "in time"
            late = f"{hop.place} did not answer {by}."
            raise RequestFailed(late + progress.doubt(hop), "timeout") from None
        except httpcore.ConnectError as error:
            kind = "tls" if isinstance(error.args[0], ssl.SSLError) else "connect"
            raise RequestFailed(f"No connection to {hop.host}:{hop.port}: {error}", kind) from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            if progress.was_left_on_an_old_connection and hop.method in _SAFE_METHODS:
                continue
            broken = f"{hop.place} broke off or sent no HTTP: {error}"
            raise RequestFailed(broken + progress.doubt(hop), "protocol") from None


class _Progress:
    """How far a request has come, as httpcore reports it."""

    def __init__(self) -> None:
        self._is_connected_anew = False
        self._is_sent = False
        self._is_answered = False

    def note(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.started":
            self._is_connected_anew = True
        elif event == "http11.send_request_headers.started":
            self._is_sent = True
        elif event == "http11.receive_response_headers.complete":
            self._is_answered = True

    @property
    def was_left_on_an_old_connection(self) -> bool:
        return self._is_sent and not self._is_connected_anew and not self._is_answered

    def doubt(self, hop: Hop) -> str:
        """Return a note that the request may have had its effect, where that is so."""
        if not self._is_sent or hop.method in _SAFE_METHODS:
            return ""
        return f" The {hop.method} may have been received, and was not sent again."


def _exchange_once(
    pool: httpcore.ConnectionPool, hop: Hop, deadline: Deadline, progress: _Progress
) -> tuple[dict[str, Any], str | None]:
    response = pool.handle_request(hop.for_httpcore(deadline, progress))
    try:
        reply = reply_to(hop, response)
        if _has_more(response):
            # The rest would be taken for the answer to the next request.
            response.extensions["network_stream"].close()
        return reply
    finally:
        response.close()


def _has_more(response: httpcore.Response) -> bool:
    """Whether a server has sent more than its answer.

    Bytes that come later are found by httpcore, which closes an idle connection that has something
    to read. If another version of httpcore hides the bytes that it has read, no connection is
    reused.
    """
    stream: Any = response.stream
    try:
        content, _ = stream._stream._connection._h11_state.trailing_data
    except AttributeError:
        return True
    return bool(content)


def reply_to(hop: Hop, response: httpcore.Response) -> tuple[dict[str, Any], str | None]:
    headers = _joined(response.headers)
    reply: dict[str, Any] = {"status": response.status, "headers": headers, "url": str(hop.url)}
    if response.status in _REDIRECTS and "location" in headers:
        return reply, headers["location"]
    body = b"".join(_decoded(hop, response.iter_stream(), headers.get("content-encoding", "")))
    reply |= described(body, headers.get("content-type", ""))
    after = _retry_after(headers.get("retry-after", ""))
    if response.status in _THROTTLED and after is not None:
        reply["retryAfter"] = after
    return reply, None


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = raw_name.decode("ascii").lower()
        value = location_text(raw_value) if name == "location" else header_text(raw_value)
        # A cookie may have commas in it (RFC 9110, 5.3).
        separator = "\n" if name == "set-cookie" else ", "
        joined[name] = f"{joined[name]}{separator}{value}" if name in joined else value
    return joined


def _decoded(hop: Hop, chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Unpack a body piece by piece: a few bytes can be the beginning of gigabytes."""
    encoding = encoding.strip().lower()
    chunks = _bounded(hop, chunks)
    if encoding in ("gzip", "x-gzip"):
        return _bounded(hop, _unzipped(hop, chunks))
    if encoding not in ("", "identity"):
        raise RequestFailed(f"{hop.place} sent a body in an unknown encoding.", "protocol")
    return chunks


def _bounded(hop: Hop, chunks: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise RequestFailed(
                f"{hop.place} sent a body of more than {MAX_BODY_BYTES} bytes.", "too-large"
            )
        yield chunk


def _unzipped(hop: Hop, chunks: Iterator[bytes]) -> Iterator[bytes]:
    unzip = None
    try:
        for chunk in chunks:
            while chunk:
                if unzip is not None and unzip.eof:
                    # Some servers pad the last block.
                    chunk = chunk.lstrip(b"\0")
                    if not chunk:
                        break
                if unzip is None or unzip.eof:
                    unzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
                yield unzip.decompress(chunk, 64 * 1024)
                chunk = unzip.unconsumed_tail or unzip.unused_data
    except zlib.error as error:
        raise RequestFailed(f"{hop.place} sent a broken body: {error}", "protocol") from None
    if unzip is not None and not unzip.eof:
        raise RequestFailed(f"{hop.place} sent half a body.", "protocol")


def _retry_after(value: str) -> float | None:
    """Return the seconds of a Retry-After, which has seconds or a date (RFC 9110, 10.2.3)."""
    try:
        seconds = float(value) if value.strip().isdigit() else _seconds_to(value)
    except (OverflowError, TypeError, ValueError):
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)


def _seconds_to(date: str) -> float:
    at = email.utils.parsedate_to_datetime(date)
    # The form of asctime names no zone: it is UTC (RFC 9110, 5.6.7), whatever that of this process.
    return at.replace(tzinfo=at.tzinfo or UTC).timestamp() - time.time()


def _url(text: Any, base: httpx.URL | None = None) -> httpx.URL:
    if not isinstance(text, str) or len(text) > MAX_URL_LENGTH:
        raise RequestFailed(f"A URL is a text of at most {MAX_URL_LENGTH} characters.", "invalid")
    try:
        url = base.join(text) if base else httpx.URL(text)
        port = url.port
    except (httpx.InvalidURL, ValueError) as error:
        # The text may hold credentials, so it is not shown.
        detail = "" if "@" in text else f": {error}"
        raise RequestFailed(f"The URL is not valid{detail}", "invalid") from None
    if url.scheme not in _DEFAULT_PORTS or not url.raw_host or port == 0 or (port or 0) > 65535:
        raise RequestFailed("A URL must begin with https:// or http:// and a host.", "invalid")
    return url


def _headers(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        raise RequestFailed("The headers must be an object.", "invalid")
    headers: dict[str, str] = {}
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name) or not isinstance(value, str):
            raise RequestFailed(
                f"{name[:200]!r} is not a header with a text for a value.", "invalid"
            )
        if not _HEADER_VALUE.fullmatch(value):
            raise RequestFailed(
                f"The value of the header {name!r} has control characters.", "invalid"
            )
        if _OWN_HEADERS.fullmatch(name.lower()):
            raise RequestFailed(f"The header {name!r} cannot be set.", "invalid")
        headers[name.lower()] = value.strip()
    return {"user-agent": "async-engine", **headers}


def _without(headers: dict[str, str], pattern: re.Pattern[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if not pattern.search(name)}


def _seconds(request: dict[str, Any]) -> float:
    seconds = request.get("timeout")
    if seconds is None:
        return DEFAULT_SECONDS
    if not isinstance(seconds, int | float) or not seconds > 0:
        raise RequestFailed("The timeout must be a number of seconds above 0.", "invalid")
    return float(seconds)

"""One POST to a receiver: to an address that is checked, within limits of time and size."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import cache
from ssl import SSLContext, SSLError

import httpcore
import httpx

from scripts.protocol.services import RequestFailed
from scripts.services.connections import CheckedNetwork

SECONDS = 15.0
CONNECT_SECONDS = 5.0
# What is kept of an answer, for those who look into a failure.
KEPT_CHARACTERS = 500
_READ_BYTES = 4 * KEPT_CHARACTERS
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver has answered, and what it asks for where it is busy."""

    status: int
    text: str = ""
    retry_after: str = ""


class NoAnswer(Exception):
    """The receiver has not answered, or may not be called; the message says why."""


def post(url: str, headers: dict[str, str], body: bytes, *, private: bool) -> Answer:
    """Send a body; redirects are not followed. `private`: the flow grants private addresses.

    The name is looked up now, and the connection goes to the address that was checked.
    Raises NoAnswer.
    """
    target = httpx.URL(url)
    place = target.netloc.decode("ascii")
    deadline = time.monotonic() + SECONDS
    # Deadlines, as CheckedNetwork takes them.
    timeouts = {
        "connect": min(deadline, time.monotonic() + CONNECT_SECONDS),
        "read": deadline,
        "write": deadline,
    }
    try:
        with (
            httpcore.ConnectionPool(
                ssl_context=_tls(), network_backend=CheckedNetwork(private=private)
            ) as pool,
            pool.stream(
                "POST",
                httpcore.URL(
                    scheme=target.raw_scheme,
                    host=target.raw_host,
                    port=target.port,
                    target=target.raw_path,
                ),
                headers=[
                    ("Host", place),
                    ("Content-Length", str(len(body))),
                    *headers.items(),
                ],
                content=body,
                extensions={"timeout": timeouts},
            ) as response,
        ):
            return Answer(response.status, _beginning(response), _header(response, b"retry-after"))
    except RequestFailed as error:
        raise NoAnswer(_told(error, place)) from None
    except httpcore.TimeoutException:
        raise NoAnswer(f"{place} did not answer within {SECONDS:g} seconds.") from None
    except httpcore.ConnectError as error:
        is_tls = isinstance(error.args[0], SSLError) if error.args else False
        what = "has no certificate that can be trusted" if is_tls else "takes no connection"
        raise NoAnswer(f"{place} {what}: {error}") from None
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise NoAnswer(f"{place} broke off, or sent no HTTP: {error}") from None


def _beginning(response: httpcore.Response) -> str:
    """Return the beginning of the answer as text. What comes too late or too slowly is left."""
    content = b""
    try:
        for chunk in response.iter_stream():
            content += chunk
            if len(content) >= _READ_BYTES:
                break
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        pass
    # No database stores NUL.
    return content.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")[
        :KEPT_CHARACTERS
    ]


def _header(response: httpcore.Response, name: bytes) -> str:
    found = (value for key, value in response.headers if key.lower() == name)
    return next(found, b"").decode("latin-1")


def _told(error: RequestFailed, place: str) -> str:
    if error.kind == "private-address":
        return f"{place} is at a private address now, which the flow does not grant."
    return str(error)


def _tls() -> SSLContext:
    with _lock:
        return _made_tls()


@cache
def _made_tls() -> SSLContext:
    # Reading the certificates of all authorities takes long.
    return httpcore.default_ssl_context()

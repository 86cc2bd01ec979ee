"""The requests of a running script to its worker, seen from its host.

The worker's end is `pool/requests.py`.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, Protocol

from scripts.protocol.envelope import require_small
from scripts.protocol.errors import OutputInvalid, WrongArgument
from scripts.protocol.wire import MAX_REQUESTS, MAX_REQUESTS_IN_FLIGHT, MAX_SENT_REQUEST_BYTES

_only_finite = json.JSONEncoder(allow_nan=False, ensure_ascii=False).encode

_TOO_MANY = {
    "error": f"A message may have {MAX_REQUESTS} requests.",
    "kind": "too-many",
}
TOO_LARGE = {
    "error": f"A request may have {MAX_SENT_REQUEST_BYTES} bytes as JSON, with bytes as base64.",
    "kind": "too-large",
}


class RunningHost(Protocol):
    """The part of a host through which a running call sends its requests."""

    @property
    def running(self) -> int:
        """The number of the call that runs."""

    def send_request(self, head: bytes, request: bytes) -> None:
        """Send a request of the running call to the worker."""

    def read_reply(self) -> tuple[int, bytes]:
        """Wait for the next reply to the running call: the number of its request, and the reply."""


class ServiceClient:
    """The requests of the running call. It holds some back where too many are in flight."""

    def __init__(self, host: RunningHost) -> None:
        self._host = host
        self.secret_names: tuple[str, ...] = ()
        self._call = 0
        self._sent = 0
        self._in_flight = 0
        self._held_back: deque[tuple[bytes, bytes]] = deque()
        self._replies: dict[int, dict[str, Any]] = {}

    def send_request(self, call: int, service: str, request: dict[str, Any]) -> int:
        """Send a request and return its number; `read_reply` returns the reply or the refusal.

        Raises RuntimeError when the call has ended, WrongArgument for a text that is none, and the
        errors of `json` for what is no JSON.
        """
        self._require_running(call)
        number = self._sent + 1
        content = _text_of(request)
        self._sent = number
        if number > MAX_REQUESTS:
            self._replies[number] = _TOO_MANY
        elif content is None:
            self._replies[number] = TOO_LARGE
        else:
            self._held_back.append((f"{number} {service}".encode("ascii", "replace"), content))
            self._send()
        return number

    def read_reply(self, call: int, number: int | None = None) -> tuple[int, dict[str, Any]]:
        """Wait for the next reply, or for the one with this number.

        Raises RuntimeError where no such request waits for a reply.
        """
        self._require_running(call)
        while not self._replies or (number is not None and number not in self._replies):
            if not self._in_flight:
                raise RuntimeError("There is no reply to wait for.")
            replied, content = self._host.read_reply()
            self._in_flight -= 1
            self._send()
            self._replies[replied] = json.loads(content)
        if number is None:
            number = next(iter(self._replies))
        return number, self._replies.pop(number)

    def _require_running(self, call: int) -> None:
        if call != self._host.running:
            raise RuntimeError("The call that this context belongs to has ended.")
        if call != self._call:
            self._begin(call)

    def _begin(self, call: int) -> None:
        self._call = call
        self._sent = self._in_flight = 0
        self._held_back.clear()
        self._replies.clear()

    def _send(self) -> None:
        while self._held_back and self._in_flight < MAX_REQUESTS_IN_FLIGHT:
            self._host.send_request(*self._held_back.popleft())
            self._in_flight += 1


def is_too_large(value: Any) -> bool:
    """Whether a value that is not written yet has more bytes as JSON than a request may have."""
    try:
        require_small(value, MAX_SENT_REQUEST_BYTES)
    except OutputInvalid:
        return True
    return False


def _text_of(request: dict[str, Any]) -> bytes | None:
    """Return it as JSON text; None where it is too large."""
    if is_too_large(request):
        return None
    try:
        text = _only_finite(request).encode()
    except UnicodeEncodeError:
        raise WrongArgument("A request holds a lone surrogate, which is not a character.") from None
    return text if len(text) <= MAX_SENT_REQUEST_BYTES else None

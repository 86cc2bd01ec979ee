"""The second argument of every script: `run(message, context)`."""

import time
from typing import Any, Protocol

from scripts.host.http import Http
from scripts.host.secret_values import Secrets
from scripts.protocol.envelope import plain_text
from scripts.protocol.numerals import Numerals
from scripts.protocol.wire import MAX_LOG_LENGTH, MAX_LOG_LINES

_LEVELS = {"debug", "info", "warning", "error", "critical"}


class Services(Protocol):
    """Sends requests of the script to its worker and waits for replies."""

    secret_names: tuple[str, ...]

    def send_request(self, call: int, service: str, request: dict[str, Any]) -> int: ...

    def read_reply(self, call: int, number: int | None = None) -> tuple[int, dict[str, Any]]: ...


class Context:
    """What a script knows about its call, besides the message."""

    __slots__ = (
        "_logs",
        "_number",
        "_numerals",
        "_secrets",
        "_services",
        "attempt",
        "correlation_id",
        "delivery_id",
        "flow",
        "queue",
        "step",
    )

    def __init__(
        self,
        correlation_id: str,
        flow: str,
        step: str,
        queue: str,
        attempt: int,
        delivery_id: str,
        logs: list[dict[str, Any]],
        services: Services,
        number: int,
    ) -> None:
        self.correlation_id = correlation_id
        self.flow = flow
        self.step = step
        self.queue = queue
        self.attempt = attempt
        self.delivery_id = delivery_id
        self._logs = logs
        self._services = services
        self._number = number
        # How the numbers of its input were written.
        self._numerals: Numerals = {}

    def log(self, text: Any, level: str = "info", at: float | None = None) -> None:
        """Keep a log line for the call's result, of now or of that epoch second."""
        lines = len(self._logs)
        if lines > MAX_LOG_LINES:
            return
        if lines == MAX_LOG_LINES:
            text, level = f"The log was cut after {MAX_LOG_LINES} lines.", "warning"
        self._logs.append(
            {
                "at": time.time() if at is None else at,
                "level": level if level in _LEVELS else "info",
                "text": plain_text(str(text), MAX_LOG_LENGTH),
            }
        )

    @property
    def http(self) -> Http:
        """HTTP requests, as far as the script may make them."""
        return Http(lambda request: self._reply("http", request), self._numerals)

    @property
    def secrets(self) -> Secrets:
        """The secrets that the script was given, by name."""
        if not hasattr(self, "_secrets"):
            self._secrets = Secrets(
                self._services.secret_names, lambda request: self._reply("secret", request)
            )
        return self._secrets

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The names of the secrets that the script may read, whether they have a value or not."""
        return self._services.secret_names

    def send_request(self, service: str, request: dict[str, Any]) -> int:
        """Send a request to a service of the worker, and return its number at once.

        A failure is in the reply. Raises RuntimeError when the call has ended.
        """
        return self._services.send_request(self._number, service, request)

    def read_reply(self) -> tuple[int, dict[str, Any]]:
        """Wait for the next reply to any request. That of a failed one has error and kind.

        Raises RuntimeError where every request has its reply.
        """
        return self._services.read_reply(self._number)

    def _reply(self, service: str, request: dict[str, Any]) -> dict[str, Any]:
        number = self._services.send_request(self._number, service, request)
        return self._services.read_reply(self._number, number)[1]

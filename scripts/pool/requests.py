"""What running scripts ask of their worker: outside calls, secrets.

A script has no network and no files, but its host can ask: in the middle of a call it sends a
request and waits for the reply. A service of the worker, a function, makes the reply, in a thread,
so that the pool goes on watching its hosts. Who asks and what for is told by the host, which
nobody believes: services look at the program's own rights and at every part of a request.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from scripts.pool.thread_pool import Crew
from scripts.protocol import wire
from scripts.protocol.services import SECRET_SERVICE, Deadline, RequestFailed, Service
from scripts.protocol.wire import ProtocolError

if TYPE_CHECKING:
    from scripts.pool.host_client import HostClient

logger = logging.getLogger(__name__)

# For all outside calls of a worker, for those of one script, and what each script has for sure.
MAX_THREADS = 256
MAX_THREADS_OF_A_SCRIPT = 64
THREADS_FOR_SURE = 4
# Secrets have threads of their own: to read one takes a moment, and it never waits behind calls.
SECRET_THREADS = 8


@dataclass(slots=True, eq=False)
class Ask:
    """A request of a host's running call."""

    host: HostClient
    call: int
    number: int
    service: str
    request: bytes
    deadline: Deadline
    is_wanted: bool = True
    reply: bytes = b""
    # What the reply gives away.
    secret: str = ""


@dataclass(slots=True)
class _Tab:
    """What the latest call of a host has asked for: how often, and what has no reply yet."""

    call: int = 0
    asked: int = 0
    open: list[Ask] = field(default_factory=list)

    def turn_to(self, call: int) -> None:
        self.close()
        self.call, self.asked = call, 0

    def close(self) -> None:
        for ask in self.open:
            ask.is_wanted = False
            ask.request = b""
        self.open.clear()


class Asks:
    """The requests of all hosts of a pool."""

    def __init__(self, services: Mapping[str, Service], crew: type[Crew[Ask]] = Crew) -> None:
        self._services = services
        self._for_calls = crew(self._serve, MAX_THREADS, MAX_THREADS_OF_A_SCRIPT, THREADS_FOR_SURE)
        self._for_secrets = crew(self._serve, SECRET_THREADS, SECRET_THREADS)
        self._tabs: dict[HostClient, _Tab] = {}

    @property
    def bells(self) -> tuple[socket.socket, ...]:
        """What is readable when requests have been served."""
        return self._for_calls.bell, self._for_secrets.bell

    def take(self, host: HostClient, call: int, head: bytes, request: bytes) -> None:
        """Begin to serve what the running call of a host asks for. Raises ProtocolError."""
        tab = self._tabs.setdefault(host, _Tab())
        if tab.call != call:
            tab.turn_to(call)
        tab.asked += 1
        if (
            tab.asked > wire.MAX_ASKS
            or len(tab.open) >= wire.MAX_ASKS_IN_FLIGHT
            or len(request) > wire.MAX_ASK_BYTES
        ):
            raise ProtocolError
        ask = Ask(host, call, *_read(head), request, host.deadline())
        tab.open.append(ask)
        crew = self._for_secrets if ask.service == SECRET_SERVICE else self._for_calls
        crew.take(ask, host.program.name)

    def served(self) -> list[Ask]:
        """Return the requests that were served and that somebody still waits for."""
        done = [*self._for_secrets.done(), *self._for_calls.done()]
        served = [ask for ask in done if ask.is_wanted]
        for ask in served:
            self._tabs[ask.host].open.remove(ask)
        return [ask for ask in served if ask.host.runs(ask.call)]

    def forget(self, host: HostClient) -> None:
        """Drop what a host has asked for that is no more."""
        tab = self._tabs.pop(host, None)
        if tab is not None:
            tab.close()

    def close(self) -> None:
        for host in list(self._tabs):
            self.forget(host)
        self._for_calls.close()
        self._for_secrets.close()
        for service in self._services.values():
            if hasattr(service, "close"):
                service.close()

    def _serve(self, ask: Ask) -> None:
        try:
            content = self._reply(ask)
            if ask.service == SECRET_SERVICE:
                ask.secret = content["value"]
            reply = orjson.dumps(content)
            if len(reply) > wire.MAX_REPLY_BYTES:
                raise RequestFailed(f"The reply has {len(reply)} bytes, which is too many.", "size")
        except RequestFailed as failed:
            reply = failed.reply()
        except Exception:
            if ask.is_wanted:
                logger.exception("a request of script %r was not served", ask.host.program.name)
            reply = RequestFailed("The request failed inside the engine.", "internal").reply()
        ask.reply = reply

    def _reply(self, ask: Ask) -> dict[str, Any]:
        if not ask.is_wanted:
            raise RequestFailed("Nobody waits for the reply any more.", "gone")
        if time.monotonic() >= ask.deadline:
            raise RequestFailed("The worker was too busy to serve the request in time.", "busy")
        service = self._services.get(ask.service)
        if service is None:
            raise RequestFailed(f"There is no service {ask.service!r}.", "unknown")
        return service(ask.host.program, _content(ask.request), ask.deadline)


def _read(head: bytes) -> tuple[int, str]:
    number, _, service = head.partition(b" ")
    if not (number.isdigit() and len(number) <= len(str(wire.MAX_ASKS)) and service.isalpha()):
        raise ProtocolError
    return int(number), service.decode()


def _content(request: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(request)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise RequestFailed("The request is not a JSON object.", "invalid")
    return content

"""The requests of running scripts to their worker: outside calls, secrets.

A script has no network and no files. In the middle of a call its host sends a request and waits for
the reply. A service of the worker, a function, makes the reply in a thread, so that the pool goes
on watching its hosts. The host's word is not trusted: services check the program's own rights and
every part of a request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from scripts.pool.thread_pool import ThreadPool
from scripts.protocol import wire
from scripts.protocol.services import (
    CACHE_SERVICE,
    CONFIG_SERVICE,
    SECRET_SERVICE,
    SIGN_SERVICE,
    START_SERVICE,
    STATE_SERVICE,
    UNREADABLE,
    Deadline,
    RequestFailed,
    Service,
)
from scripts.protocol.wire import ProtocolError
from scripts.traces import are_on, in_trace_of

if TYPE_CHECKING:
    from scripts.pool.host_client import HostClient
    from scripts.protocol.calls import Call, CallSite

logger = logging.getLogger(__name__)

# The most threads for the outside calls of a worker and of one script, and the threads that each
# script has in any case.
MAX_THREADS = 256
MAX_THREADS_OF_A_SCRIPT = 64
THREADS_FOR_SURE = 4
# Secrets and signatures have threads of their own: what is quick never waits behind outside calls.
SECRET_THREADS = 8
QUICK_SERVICES = (CACHE_SERVICE, CONFIG_SERVICE, SECRET_SERVICE, SIGN_SERVICE, STATE_SERVICE)


@dataclass(slots=True, eq=False)
class Request:
    """A request of a host's running call."""

    host: HostClient
    call: int
    number: int
    service: str
    content: bytes
    deadline: Deadline
    # The flow of the call, as the worker knows it.
    flow_id: int = 0
    is_wanted: bool = True
    reply: bytes = b""
    # The secret that the reply holds.
    secret: str = ""
    # The call, where the service or its trace asks for it, or its failure concerns the message.
    running: tuple[CallSite, Call] | None = None
    # What the call has started since it began.
    starts: dict[int, Any] = field(default_factory=dict)


@dataclass(slots=True)
class PendingRequests:
    """The requests of a host's latest call: how many it has sent, and those without a reply."""

    call: int = 0
    sent: int = 0
    unanswered: list[Request] = field(default_factory=list)

    def turn_to(self, call: int) -> None:
        """Begin with the requests of another call."""
        self.close()
        self.call, self.sent = call, 0

    def close(self) -> None:
        """Want no reply any more; what a service does meanwhile is dropped."""
        for request in self.unanswered:
            request.is_wanted = False
            request.content = b""
        self.unanswered.clear()


class RequestDispatcher:
    """Has services reply to the requests of all hosts of a pool.

    Each of its `thread_pools` is readable when requests have been served.
    """

    def __init__(
        self,
        services: Mapping[str, Service],
        thread_pool: type[ThreadPool[Request]] = ThreadPool,
    ) -> None:
        self._services = services
        self._for_calls = thread_pool(
            self._serve, MAX_THREADS, MAX_THREADS_OF_A_SCRIPT, THREADS_FOR_SURE
        )
        self._for_secrets = thread_pool(self._serve, SECRET_THREADS, SECRET_THREADS)
        self.thread_pools = (self._for_calls, self._for_secrets)
        self._pending: dict[HostClient, PendingRequests] = {}

    def take(self, host: HostClient, call: int, head: bytes, content: bytes) -> None:
        """Begin to serve a request of a host's running call. Raises ProtocolError."""
        pending = self._pending.setdefault(host, PendingRequests())
        if pending.call != call:
            pending.turn_to(call)
        pending.sent += 1
        if (
            pending.sent > wire.MAX_REQUESTS
            or len(pending.unanswered) >= wire.MAX_REQUESTS_IN_FLIGHT
            or len(content) > wire.MAX_SENT_REQUEST_BYTES
        ):
            raise ProtocolError
        request = Request(host, call, *_read(head), content, host.deadline(), host.flow_id)
        if request.service in (START_SERVICE, STATE_SERVICE) or are_on():
            request.running = host.running_call(call)
        if request.service == START_SERVICE and request.running:
            # Here, and not in the serving threads: a late one would go back to an earlier turn.
            request.starts = request.running[1].starts_in((host, call))
        pending.unanswered.append(request)
        threads = self._for_secrets if request.service in QUICK_SERVICES else self._for_calls
        threads.submit(request, host.program.name)

    def served(self) -> list[Request]:
        """Return the requests that were served and whose call still waits for the reply."""
        done = [*self._for_secrets.done(), *self._for_calls.done()]
        served = [request for request in done if request.is_wanted]
        for request in served:
            self._pending[request.host].unanswered.remove(request)
        return [request for request in served if request.host.runs(request.call)]

    def forget(self, host: HostClient) -> None:
        """Drop the requests of a host that has ended."""
        pending = self._pending.pop(host, None)
        if pending is not None:
            pending.close()

    def close(self) -> None:
        """Drop all requests and let the threads end."""
        for host in list(self._pending):
            self.forget(host)
        for threads in self.thread_pools:
            threads.close()

    def _serve(self, request: Request) -> None:
        try:
            content = self._reply(request)
            if request.service == SECRET_SERVICE:
                request.secret = content["value"]
            reply = orjson.dumps(content)
            if len(reply) > wire.MAX_REPLY_BYTES:
                raise RequestFailed(f"The reply has {len(reply)} bytes, which is too many.", "size")
        except RequestFailed as failed:
            reply = failed.reply()
            if failed.kind == UNREADABLE and request.running:
                request.running[1].unreadable = str(failed)
        except Exception:
            if request.is_wanted:
                name = request.host.program.name
                logger.exception("a request of script %r was not served", name)
            reply = RequestFailed("The request failed inside the engine.", "internal").reply()
        request.reply = reply

    def _reply(self, request: Request) -> dict[str, Any]:
        if not request.is_wanted:
            raise RequestFailed("The call that waited for the reply has ended.", "gone")
        if time.monotonic() >= request.deadline:
            raise RequestFailed("The worker was too busy to serve the request in time.", "busy")
        service = self._services.get(request.service)
        if service is None:
            raise RequestFailed(f"There is no service {request.service!r}.", "unknown")
        content = _content(request.content)
        if request.service == STATE_SERVICE:
            content["flow"] = request.flow_id
        with in_trace_of(request.running and request.running[1]):
            if request.service != START_SERVICE:
                return service(request.host.program, content, request.deadline)
            if request.running is None:
                raise RequestFailed("The call that waited for the reply has ended.", "gone")
            site, call = request.running
            serve: Any = service
            reply: dict[str, Any] = serve.serve_call(
                site, call, request.starts, content, request.deadline
            )
            return reply


def _read(head: bytes) -> tuple[int, str]:
    number, _, service = head.partition(b" ")
    most_digits = len(str(wire.MAX_REQUESTS))
    if not (number.isdigit() and len(number) <= most_digits and service.isalpha()):
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

"""Starts that were accepted a moment ago: what their requests had in common, and the answer.

A request like one that was just accepted needs none of the checks that its headers decide:
Django's middlewares and the view would come to the same end. What may have changed since, the
token, its user, their roles and the flow, is read for each group of starts, or compared where they
are stored, see `start_groups`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from rest_framework.request import Request

from flows.api.authentication import (
    IssuerAuthentication,
    Login,
    Memory,
    TokenAuthentication,
    login_of,
)
from flows.front.answer import Answer
from flows.front.environ import Scope
from flows.front.prepared import Prepared

# The key of a `StartNote` in the environment of a request.
NOTE = "asyncengine.start"
PATHS = (b"/async/api/start", b"/async/api/flows/")
# Each process has its own key, so a digest in memory tells nothing about the token in it.
DIGEST_KEY = secrets.token_bytes(32)
# Headers that differ from request to request, and that no part of the engine reads.
IGNORED = frozenset(
    {b"baggage", b"content-length", b"date", b"traceparent", b"tracestate", b"x-request-id"}
)
# Logins that can be looked at again for each start.
BY_TOKEN = frozenset({TokenAuthentication, IssuerAuthentication})
# Headers of an answer that name its run.
OF_THE_RUN = frozenset({b"location", b"x-correlation-id"})
# Those that say how start rates stand, by now or under another setting.
OF_THE_RATES = frozenset({b"ratelimit", b"ratelimit-policy"})
# Requests with these are for the view.
FOR_THE_VIEW = frozenset({b"content-encoding", b"cookie", b"expect", b"transfer-encoding"})
# Those whose part in a start is known. With any other the view answers every request.
MIDDLEWARES = frozenset(
    {
        "corsheaders.middleware.CorsMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "flows.admin.malformed.MalformedMiddleware",
        "flows.admin.once.OnceMiddleware",
        "flows.admin.see_as.SeeAsMiddleware",
        "flows.api.middleware.ProblemMiddleware",
        "flows.api.middleware.TextMiddleware",
        "flows.front.content_policy.ContentPolicyMiddleware",
        "flows.front.public_address.PublicAddressMiddleware",
        "simple_history.middleware.HistoryRequestMiddleware",
        "whitenoise.middleware.WhiteNoiseMiddleware",
    }
)


@dataclass(slots=True)
class StartNote:
    """What the view says of a start that it has accepted, or refused because the queue is full; it
    is in the request's environment."""

    was_refused: bool = False
    correlation_id: UUID | None = None
    flow_name: str = ""
    login: Login | None = None


@dataclass(frozen=True, slots=True)
class KnownStart:
    """A start that was accepted, or refused because the queue is full, with its answer."""

    flow_name: str
    login: Login
    headers: list[tuple[bytes, bytes]]
    body: bytes
    correlation_id: bytes
    # What a refusal has beside its own headers.
    other_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    # Without an accepted one it says how to refuse another start, and not how to accept it.
    was_accepted: bool = True

    def accepted(self, correlation_id: UUID, more: Mapping[str, str]) -> Prepared:
        """Return the same answer for another run, with more headers."""
        mine, other = self.correlation_id, str(correlation_id).encode()
        headers = [
            (name, value.replace(mine, other) if name in OF_THE_RUN else value)
            for name, value in self.headers
        ]
        headers += encoded(more.items())
        return Prepared(202, headers, self.body.replace(mine, other))

    def refused(self, response: Any) -> Prepared:
        """Return a refusal with the headers that the middlewares give to every answer."""
        own = encoded(response.items())
        length = (b"content-length", str(len(response.content)).encode())
        return Prepared(response.status_code, [*own, *self.other_headers, length], response.content)


def encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Return headers as ASGI has them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


class KnownStarts:
    """Remembers them for seconds, by all that the requests say beside their bodies."""

    def __init__(self) -> None:
        self._memory = Memory()
        self.is_on = set(settings.MIDDLEWARE) <= MIDDLEWARES

    def key_of(self, scope: Scope) -> bytes | None:
        """Return what stands for all like requests; None: the view has to answer this one."""
        path = scope["raw_path"]
        if not self.is_on or scope["method"] != "POST" or not path.startswith(PATHS):
            return None
        said = [path, scope["query_string"], scope.get("scheme", "http").encode()]
        for name, value in scope["headers"]:
            if name in FOR_THE_VIEW:
                return None
            if name == b"idempotency-key":
                # That there is one is the same for all, and a second one is seen.
                said.append(name)
            elif name not in IGNORED:
                said += (name, value)
        # Lengths keep apart what would be the same joined.
        parts = b"".join([b"%d:%s," % (len(part), part) for part in said])
        return hashlib.blake2b(parts, digest_size=32, key=DIGEST_KEY).digest()

    def get(self, key: bytes) -> KnownStart | None:
        known: KnownStart | None = self._memory.get(key)
        return known

    def learn(self, key: bytes, note: StartNote, answer: Answer) -> None:
        """Remember an answer of the view, if a start was accepted or its queue was full."""
        if note.login is None or (told := answer.whole()) is None:
            return
        status, headers, body = told
        if status != (429 if note.was_refused else 202):
            return
        if note.was_refused and self.get(key) is not None:
            # That of an accepted start says more.
            return
        headers = [(name, value) for name, value in headers if name not in OF_THE_RATES]
        apart = {*OF_THE_RUN, b"content-type", b"content-length", b"retry-after"}
        self._memory.put(
            key,
            KnownStart(
                note.flow_name,
                note.login,
                headers,
                body,
                str(note.correlation_id).encode(),
                [(name, value) for name, value in headers if name not in apart],
                was_accepted=not note.was_refused,
            ),
        )


def note_start(request: Request, started: Any) -> None:
    """Say in the environment, if it is asked for there, that the view has accepted a start."""
    if note := _note_of(request):
        note.correlation_id = started.correlation_id
        note.flow_name, note.login = started.flow_name, login_of(request)


def note_full_queue(request: Request, flow_name: str) -> None:
    """Say there that the view has refused a start because its queue is full."""
    if note := _note_of(request):
        note.was_refused = True
        note.flow_name, note.login = flow_name, login_of(request)


def _note_of(request: Request) -> StartNote | None:
    note: StartNote | None = request.META.get(NOTE)
    return note if type(request.successful_authenticator) in BY_TOKEN else None

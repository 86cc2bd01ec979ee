"""The front as an ASGI application."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.http import HttpResponse

from flows.front.answer import Answer, Send, Wsgi
from flows.front.body import (
    BodyMemory,
    Held,
    Receive,
    StreamedInput,
    Upload,
    read_ahead,
    read_whole,
    whole_input,
)
from flows.front.cross_origin import CrossOrigin
from flows.front.environ import Scope, environ_of, header
from flows.front.faults import BodyTooLarge, TooManyWaiters, TransferCodingUnknown
from flows.front.prepared import Prepared
from flows.front.public_address import PROBES, inner_path
from flows.front.streams import STREAM, Check, OpenStream, Stream, Streams
from flows.front.threads import Threads
from flows.front.turns import STREAMS, TURN, WAITING, Turns
from flows.front.waiters import WAIT, Wait, Waiters, look
from scripts.protocol.table_file import MAX_FILE_BYTES

AnswerTo = Callable[[Exception], HttpResponse]
Ask = Callable[[dict[str, Any], Threads], Awaitable[Answer]]

# Threads that answer requests. They wait for the database alone: callers that wait for a run hold
# none of them.
THREADS = 8
LIVE_PATH = "/async/health/live"
# The operations whose bodies may be of any length.
STREAMED_PATHS = frozenset({"/async/api/start/batch"})
# The pages that take the file of a reference table, and the most that they take. Django writes it
# to the disk.
_TABLE_PAGE = re.compile(r"/[\w/-]+/scripts/referencetable/(?:add|[0-9]+/change)/")
TABLE_BYTES = MAX_FILE_BYTES + 1024 * 1024


class Quick(Protocol):
    """Answers some requests without the WSGI application, as it has answered others before."""

    def key_of(self, scope: Scope) -> bytes | None:
        """Return what stands for all like requests; None: the application answers them all."""

    async def answer(self, key: bytes, scope: Scope, held: Held) -> Prepared | None:
        """Return the answer; None: the application has to answer."""

    def note_in(self, environ: dict[str, Any]) -> Any:
        """Return what the application fills in while it answers."""

    def learn(self, key: bytes, note: Any, answer: Answer) -> None:
        """Take in an answer of the application, with its note."""


class Front:
    """Receives requests and has the WSGI application answer them in threads.

    `answer_to` makes the response to an exception that happens before any view. `check` says who
    may go on to see a stream of events; without it there are none.
    """

    def __init__(
        self,
        wsgi: Wsgi,
        answer_to: AnswerTo,
        threads: int = THREADS,
        quick: Quick | None = None,
        check: Check | None = None,
    ) -> None:
        self._quick = quick
        self._wsgi = wsgi
        self._answer_to = answer_to
        self._threads = Threads(threads, "request")
        # Probes are answered even while all other threads are busy.
        self._probes = Threads(1, "probe")
        # A body that still comes, or whose view may wait, holds no thread that others need.
        self._bodies = Threads(STREAMS + WAITING, "body")
        self._turns = Turns()
        self._memory = BodyMemory()
        self._waiters = Waiters(look)
        self._event_streams = Streams(check) if check else None
        self._cross_origin = CrossOrigin()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            raise NotImplementedError(f"{scope['type']} is not served")
        scope = {**scope, "path": inner_path(scope["path"])}
        if _is_live_probe(scope):
            answer = Answer(_live, {})
            answer.add(self._cross_origin.headers(scope))
            await answer.send(send, self._probes, last=False)
        else:
            await self._exchange(scope, receive, send)

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        upload, held = Upload(receive, _length(scope)), Held(self._memory)
        threads = self._probes if scope["path"].startswith(PROBES) else self._threads
        try:
            answer = await self._answer(scope, upload, held, threads)
        except CallerGone:
            return
        except Exception as error:
            answer = _refusal(self._answer_to(error))
            answer.add(self._cross_origin.headers(scope))
        finally:
            held.release()
        await answer.send(send, threads, last=not upload.is_whole)
        await upload.linger()

    async def _answer(
        self, scope: Scope, upload: Upload, held: Held, threads: Threads
    ) -> Answer | Prepared | OpenStream:
        _require_known_coding(scope)
        if _is_streamed(scope, upload):
            await read_ahead(upload, held)
            if not upload.is_whole or _may_wait(scope):
                async with self._turns.take() as turn:
                    loop = asyncio.get_running_loop()
                    environ = environ_of(scope, StreamedInput(upload, held, loop))
                    environ[TURN] = turn
                    return await self._ask(environ, self._bodies)
        else:
            limit = _limit(scope, upload)
            if not upload.is_whole:
                upload.ask()
            key = self._quick.key_of(scope) if self._quick else None
            await read_whole(upload, held, limit)
            if self._quick and key:
                prepared = await self._quick.answer(key, scope, held)
                ask = partial(self._ask_and_learn, self._quick, key)
                return prepared or await self._ask_until_over(scope, upload, held, threads, ask)
        return await self._ask_until_over(scope, upload, held, threads, self._ask)

    async def _ask_and_learn(
        self, quick: Quick, key: bytes, environ: dict[str, Any], threads: Threads
    ) -> Answer:
        note = quick.note_in(environ)
        answer = await self._ask(environ, threads)
        quick.learn(key, note, answer)
        return answer

    async def _ask_until_over(
        self, scope: Scope, upload: Upload, held: Held, threads: Threads, ask: Ask
    ) -> Answer | OpenStream:
        """Ask the view. If it has to wait, wait without a thread and ask again."""
        wait, stream = Wait(), Stream()
        environ = _environ(scope, held, wait)
        if self._event_streams:
            environ[STREAM] = stream
        answer = await ask(environ, threads)
        if self._event_streams and stream.selection:
            headers = self._cross_origin.headers(scope)
            return self._event_streams.open(stream, upload.gone, headers)
        if wait.run_id is None:
            return answer
        if wait.done is not None:
            # The view has read the body, and does not read it again after a wait that may be long.
            held.drop()
            del environ
        try:
            if not await self._waiters.wait(wait, upload.gone):
                raise CallerGone
        except TooManyWaiters:
            if wait.done is None:
                raise
        again = Wait(is_over=True, done=wait.done)
        return await self._ask(_environ(scope, held, again), threads)

    async def _ask(self, environ: dict[str, Any], threads: Threads) -> Answer:
        return await threads.run(partial(Answer, self._wsgi, environ))


class CallerGone(Exception):
    """The connection was closed while its request was under way."""


def _require_known_coding(scope: Scope) -> None:
    """Raises TransferCodingUnknown: a body that is compressed besides would be taken as it is."""
    coding = header(scope, b"transfer-encoding")
    if coding is not None and coding.strip().lower() != b"chunked":
        raise TransferCodingUnknown


def _is_streamed(scope: Scope, upload: Upload) -> bool:
    """Whether the view reads the body while it comes. Raises BodyTooLarge before any is read."""
    if scope["path"] in STREAMED_PATHS:
        return bool(scope["method"] == "POST")
    # Without a length Django would read nothing.
    if not upload.length or not _TABLE_PAGE.fullmatch(scope["path"]):
        return False
    if upload.length > TABLE_BYTES:
        raise BodyTooLarge(TABLE_BYTES)
    return True


def _may_wait(scope: Scope) -> bool:
    """Whether the query may ask the view to wait with a part of the body."""
    return b"wait" in unquote_to_bytes(scope["query_string"])


def _limit(scope: Scope, upload: Upload) -> int:
    """Return the most bytes of the body. Raises BodyTooLarge if the announced length is more."""
    is_api = scope["path"].startswith("/async/")
    limit: int = (
        settings.ASYNCENGINE_MAX_PAYLOAD_BYTES if is_api else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    )
    if (upload.length or 0) > limit:
        raise BodyTooLarge(limit)
    return limit


def _environ(scope: Scope, held: Held, wait: Wait) -> dict[str, Any]:
    environ = environ_of(scope, whole_input(held))
    environ[WAIT] = wait
    if held.size:
        # The length of a body in chunks is known by now, too.
        environ["CONTENT_LENGTH"] = str(held.size)
        environ.pop("HTTP_TRANSFER_ENCODING", None)
    return environ


def _length(scope: Scope) -> int | None:
    """Return the length of the body, None if it is not announced."""
    if (text := header(scope, b"content-length")) is not None and text.isdigit():
        return int(text)
    is_chunked = header(scope, b"transfer-encoding") is not None
    return None if is_chunked or not scope["http_version"].startswith("1") else 0


def _is_live_probe(scope: Scope) -> bool:
    is_read = scope["method"] in {"GET", "HEAD"}
    return is_read and scope["path"] == LIVE_PATH and not scope["query_string"]


def _live(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = b'{"status":"live"}'
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def _refusal(response: HttpResponse) -> Answer:
    def refuse(environ: dict[str, Any], start_response: Any) -> Any:
        start_response(f"{response.status_code} {response.reason_phrase}", response.items())
        return response

    return Answer(refuse, {})

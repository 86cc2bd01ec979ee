"""Streams of events. Each holds a connection and a place in the log; two threads serve them all.

One task looks what is new, as long as anybody listens. A stream to which that matters reads the
page behind its place, or shares it with the streams that have the same place and selection. What
waits for a slow reader is one page: the next is read when that is sent, from the database.
"""

from __future__ import annotations

import asyncio
import logging
import time
from asyncio import Future, Task
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import orjson
from django.db import close_old_connections

from flows.front.answer import SEND_SECONDS, Send
from flows.front.faults import Overloaded
from flows.front.places import Places
from flows.front.stopping import call_at_stop
from flows.front.threads import Threads
from flows.monitoring.events.live import Heard, Said, said_in
from flows.monitoring.events.log import EventLog, News
from flows.monitoring.events.page import Page, Position, live_page, missed_since, read_page
from flows.monitoring.events.page import is_ahead as is_ahead_of_database
from flows.monitoring.events.selection import Selection
from flows.monitoring.times import rfc3339

logger = logging.getLogger(__name__)

T = TypeVar("T")

# The most streams of one process.
MOST = 2_000
# The shortest pause between two looks, and how often more it is than they take.
LEAST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0
PAUSE_FACTOR = 5
CHECK_SECONDS = 2.0
# A proxy closes connections that are silent for a minute or less.
KEEP_ALIVE_SECONDS = 15.0
# Workers note as often what scripts say.
LISTEN_SECONDS = 1.0
# After a fault of the database.
RETRY_SECONDS = 1.0
# What all streams of a process send together: it must leave time to others.
BYTES_PER_SECOND = 8 * 1024 * 1024
BURST_SECONDS = 0.25
COST_OF_SENDING = 2_000

HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    # nginx would collect the events.
    (b"x-accel-buffering", b"no"),
]
# How long a browser waits before it connects again.
OPENING = b"retry: 2000\n\n"

# The key of a `Stream` in the environment.
STREAM = "asyncengine.stream"

# Returns what each ticket allows now: a selection, or None where it allows nothing any more.
Check = Callable[[Sequence[Any]], Sequence[Selection | None]]


@dataclass
class Stream:
    """A stream that a view asks for. It is in the environment of the request, and the view fills it
    in; the front drops the answer of the view and streams the events.

    `ticket` is what `Check` checks while the stream is open. `after` is the place behind which it
    begins; None: what is new from now on.
    """

    selection: Selection | None = None
    ticket: Any = None
    user_id: Any = None
    after: Position | None = None

    def open(self, selection: Selection, ticket: Any, user_id: Any, after: Position | None) -> None:
        self.selection, self.ticket, self.user_id, self.after = selection, ticket, user_id, after


class Streams:
    """The streams of one process."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._threads = Threads(2, "events")
        self._places = Places(MOST)
        self._open: set[OpenStream] = set()
        self._is_stopping = False
        self._looking: Task[None] | None = None
        self._checking: Task[None] | None = None
        self._pages: dict[tuple[Selection, Position], Task[Page]] = {}
        # What scripts have said that still run, of the runs that streams follow.
        self.said: Mapping[UUID, Said] = {}
        self._listened_at = 0.0
        self._free_at = 0.0
        # What was found last, what before that, and the future that the next look ends.
        self.news: News | None = None
        self.before: News | None = None
        self._next: Future[None] | None = None

    def open(
        self,
        stream: Stream,
        gone: Callable[[], Awaitable[None]],
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> OpenStream:
        """`headers`: what the answer has beside those of a stream.

        Raises TooManyWaiters, and Overloaded if the server stops."""
        if self._is_stopping:
            raise Overloaded
        place = ExitStack()
        place.enter_context(self._places.taken(stream.user_id))
        return OpenStream(self, stream, gone, place, headers)

    def enter(self, stream: OpenStream) -> None:
        self._open.add(stream)
        if self._looking is None:
            call_at_stop(self.stop)
        # Each ends by itself when no stream is open.
        if self._looking is None or self._looking.done():
            self.news = self.before = None
            self._next = asyncio.get_running_loop().create_future()
            self._looking = asyncio.create_task(self._look_on(EventLog()))
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check_on())

    def leave(self, stream: OpenStream) -> None:
        self._open.discard(stream)

    def stop(self) -> None:
        """End all streams. Their callers go on elsewhere, or here after a restart."""
        self._is_stopping = True
        for stream in self._open:
            stream.end()

    # --- what is new -----------------------------------------------------------------------

    async def _look_on(self, log: EventLog) -> None:
        while self._open:
            begun = time.monotonic()
            try:
                self._take(await self.in_thread(log.look))
                await self._listen()
            except Exception:
                logger.exception("Cannot look for new events")
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(self._pause(begun))

    def _pause(self, begun: float) -> float:
        """Return how long not to look after a look that began then.

        What may be sent of the last page comes first: streams that are sent new events before all
        have the old ones come to different places, and share no page any more.
        """
        now = time.monotonic()
        pause = max(PAUSE_FACTOR * (now - begun), self._free_at - now, LEAST_PAUSE_SECONDS)
        return min(pause, LONGEST_PAUSE_SECONDS)

    def _take(self, news: News | None) -> None:
        if news is None or (self.news and news.upto == self.news.upto):
            return
        self.before, self.news = self.news, news
        self._pages.clear()
        self._wake()

    async def _listen(self) -> None:
        """Read once a second what the scripts of followed runs say while they run."""
        if time.monotonic() - self._listened_at < LISTEN_SECONDS:
            return
        self._listened_at = time.monotonic()
        followed = {run_id for stream in self._open if (run_id := stream.selection.run_id)}
        said = await self.in_thread(partial(said_in, followed)) if followed else {}
        if said != self.said:
            self.said = said
            self._wake()

    def _wake(self) -> None:
        assert self._next is not None
        self._next.set_result(None)
        self._next = asyncio.get_running_loop().create_future()

    async def next_news(self, seconds: float) -> bool:
        """Wait for new events. Return False if the time is over before."""
        assert self._next is not None
        done, _ = await asyncio.wait({self._next}, timeout=seconds)
        return bool(done)

    async def page(self, selection: Selection, after: Position, news: News, heard: Heard) -> Page:
        """Return the page behind a position. Streams that ask for the same one share it, unless
        they have heard a part of it.
        """
        if heard:
            own = partial(read_page, selection, after, news.upto, heard)
            return await self.in_thread(own)
        key = (selection, after)
        if key not in self._pages:
            reading = partial(read_page, selection, after, news.upto)
            self._pages[key] = asyncio.ensure_future(self.in_thread(reading))
        reading_task = self._pages[key]
        try:
            return await asyncio.shield(reading_task)
        except Exception:
            self._pages.pop(key, None)
            raise

    async def in_thread(self, function: Callable[[], T]) -> T:
        return await self._threads.run(partial(_with_connection, function))

    async def spend(self, size: int) -> None:
        """Wait until this number of bytes may be sent."""
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + (size + COST_OF_SENDING) / BYTES_PER_SECOND
        if (early := self._free_at - now - BURST_SECONDS) > 0:
            await asyncio.sleep(early)

    # --- rights ----------------------------------------------------------------------------

    async def _check_on(self) -> None:
        """Check again and again that the callers may see what they get."""
        while self._open:
            await asyncio.sleep(CHECK_SECONDS)
            streams = list(self._open)
            try:
                await self._check_all(streams)
            except Exception:
                # Neither can events be read then.
                logger.exception("Cannot check who may see events")

    async def _check_all(self, streams: list[OpenStream]) -> None:
        tickets = list(dict.fromkeys(stream.ticket for stream in streams))
        found = await self.in_thread(lambda: self._check(tickets))
        allowed = dict(zip(tickets, found, strict=True))
        for stream in streams:
            if selection := allowed[stream.ticket]:
                stream.selection = selection
            else:
                stream.end()


class OpenStream:
    """A stream to one caller. It is sent as an `Answer` is."""

    def __init__(
        self,
        streams: Streams,
        stream: Stream,
        gone: Callable[[], Awaitable[None]],
        place: ExitStack,
        headers: Sequence[tuple[bytes, bytes]],
    ) -> None:
        assert stream.selection is not None
        self.selection = stream.selection
        self.ticket = stream.ticket
        self._after = stream.after
        self._streams = streams
        self._gone = gone
        self._place = place
        self._more_headers = headers
        self._over: Future[None] = asyncio.get_running_loop().create_future()
        self._heard = Heard()
        self._last_said: Said | None = None
        self._sent_at = 0.0

    def end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def send(self, send: Send, threads: Threads, *, last: bool) -> None:
        """Send events until the caller goes, or `end` is called, or the last one is sent."""
        with self._place:
            self._streams.enter(self)
            try:
                await send(
                    {"type": "http.response.start", "status": 200, "headers": self._headers()}
                )
                await self._send_while_open(send)
            finally:
                self._streams.leave(self)

    def _headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers; those of a run's stream name it, as `is_about` does."""
        run_id = self.selection.run_id
        about = [] if run_id is None else [(b"x-correlation-id", str(run_id).encode())]
        return [*HEADERS, *about, *self._more_headers]

    async def _send_while_open(self, send: Send) -> None:
        sending = asyncio.create_task(self._send_events(send))
        gone = asyncio.ensure_future(self._gone())
        tasks: set[Future[Any]] = {sending, gone, self._over}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            has_gone = gone.done()
        finally:
            sending.cancel()
            gone.cancel()
        await asyncio.wait({sending})
        if not sending.cancelled() and (error := sending.exception()):
            # A caller that reads nothing any more is none to be told.
            if not isinstance(error, TimeoutError):
                logger.error("A stream of events has failed", exc_info=error)
        elif not has_gone:
            await _send_piece(send, b"", more=False)

    async def _send_events(self, send: Send) -> None:
        await self._send(send, OPENING)
        place = await self._first_place(send)
        seen = None
        while True:
            news = self._streams.news
            assert news is not None
            was_here = seen is not None and seen is self._streams.before
            if was_here and news is not seen and not news.concern(self.selection):
                place = place.at_least(news.upto)
            seen = None
            if not place.is_before(news.upto):
                seen = news
                await self._send_live(send)
                if not await self._streams.next_news(self._silence_left()):
                    await self._send(send, _id(place))
                continue
            page = await self._page(place, news)
            if page is None:
                continue
            if page.text:
                await self._streams.spend(len(page.text))
                await self._send(send, page.text)
            self._heard.forget(page.ended)
            if page.is_last:
                return
            place = page.until

    async def _send(self, send: Send, piece: bytes) -> None:
        await _send_piece(send, piece)
        self._sent_at = time.monotonic()

    def _silence_left(self) -> float:
        """Return how long nothing may be sent. What is new for others does not count."""
        return max(self._sent_at + KEEP_ALIVE_SECONDS - time.monotonic(), 0.0)

    async def _send_live(self, send: Send) -> None:
        """Send what the scripts of the run have said that still run."""
        run_id = self.selection.run_id
        said = self._streams.said.get(run_id) if run_id else None
        if run_id and said and said is not self._last_said:
            self._last_said = said
            piece = await self._streams.in_thread(partial(live_page, run_id, self._heard, said))
            if piece:
                await self._streams.spend(len(piece))
                await self._send(send, piece)

    async def _first_place(self, send: Send) -> Position:
        """Wait until events can be read, and return where this stream begins."""
        while self._streams.news is None:
            if not await self._streams.next_news(KEEP_ALIVE_SECONDS):
                await self._send(send, OPENING)
        upto, after = self._streams.news.upto, self._after
        if after is None:
            await self._send(send, _id(upto))
            return upto
        is_ahead = await self._streams.in_thread(partial(is_ahead_of_database, after))
        if self.selection.run_id:
            return Position() if is_ahead else after
        since = await self._streams.in_thread(partial(missed_since, after))
        if is_ahead or since:
            missed = orjson.dumps({"since": since and rfc3339(since)})
            await self._send(send, b"event: missed\ndata: %s\n%s" % (missed, _id(upto)))
            return upto
        return after

    async def _page(self, place: Position, news: News) -> Page | None:
        try:
            return await self._streams.page(self.selection, place, news, self._heard)
        except Exception:
            logger.exception("Cannot read events")
            await asyncio.sleep(RETRY_SECONDS)
            return None


async def _send_piece(send: Send, piece: bytes, *, more: bool = True) -> None:
    """Send a piece. Raises TimeoutError if the caller reads nothing."""
    async with asyncio.timeout(SEND_SECONDS):
        await send({"type": "http.response.body", "body": piece, "more_body": more})


def _id(place: Position) -> bytes:
    """Return what tells the caller its place, without an event."""
    return b"id: %s\n\n" % str(place).encode()


def _with_connection(function: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return function()
    finally:
        close_old_connections()

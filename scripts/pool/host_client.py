"""A worker's view of one script host: what is on its way to it, what came back, how it is.

It never waits: `send` writes what the pipe takes, `read` returns what the pipe has. What to do
about a host that is stuck, overdue or dead is decided by the pool (`host_pool.py`).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import orjson

from scripts.pool import interruption
from scripts.pool.answers import Answer, AnswerStream
from scripts.pool.group import MAX_GROUP_BYTES, Group
from scripts.pool.pace import GROUP_SECONDS
from scripts.pool.shared_page import SharedPage
from scripts.protocol import wire
from scripts.protocol.calls import Call, CallSite, Program
from scripts.protocol.errors import ScriptError
from scripts.protocol.wire import ProtocolError

if TYPE_CHECKING:
    from scripts.pool.lane import Lane
    from scripts.pool.services import GivenTable

# After this time without progress, a host is taken to be busy with something slow.
STUCK_SECONDS = 0.025
# Or after several times what its calls take, and at most after this: with as many hosts as threads,
# a call of 5 ms takes longer than it computes.
_STUCK_CALLS = 3
_MOST_STUCK_SECONDS = 0.05
# How often a host is looked at whose time limit is still far away.
LOOK_SECONDS = 0.1
# How much time a script can gain by forging the page that shows what it does.
_FORGERY_SECONDS = 0.9
_START_SECONDS = 10.0
# How long a host that is over its time limit may take to tell where its script is.
_TELLING_SECONDS = 0.25

_READ_BYTES = 256 * 1024
_SOCKET_BUFFER_BYTES = 1024 * 1024
# More than a host that waits for its replies leaves unread.
_MAX_OUTBOX_BYTES = 4 * wire.MAX_REPLY_BYTES
_UNREAD = b'{"error":"Earlier replies were not read.","kind":"busy"}'


class HostClient:
    def __init__(
        self,
        number: int,
        program: Program,
        selector: selectors.BaseSelector,
        on_event: Callable[[HostClient, int], None],
        tables: tuple[GivenTable, ...] = (),
    ) -> None:
        """`on_event` is called with this host and with what its channel is ready for."""
        self.number = number
        self.program = program
        self.tables = tables
        self.lane: Lane | None = None
        self.page = SharedPage()
        self.channel, self.other_end = _channel()
        self._selector = selector
        self._on_event = partial(on_event, self)
        self._selector.register(self.channel, selectors.EVENT_READ, self._on_event)
        self._outbox = bytearray()
        self._answers = AnswerStream()
        # The call that has read secrets last, and those secrets.
        self._secrets_call = 0
        self._call_secrets: tuple[str, ...] = ()
        # What it was sent and has not answered. The last two leave out what was taken back.
        self.groups: deque[Group] = deque()
        self.sent = 0
        self.recalled = 0
        self.in_flight = 0
        self.bytes_in_flight = 0
        self.progress_at = time.monotonic()
        # The seconds that a call of its program takes, 0 while that is not known.
        self.pace = 0.0
        self.is_ready = False
        self.missing_measures: list[str] = []
        # Whether the zygote kills it when it computes.
        self.is_watched = False
        self.broke_protocol = False
        # Whether a call has exhausted its memory: it ends by itself, once its answers are sent.
        self.is_worn_out = False
        # The number of the call behind which all others were taken away.
        self._reclaimed_behind = 0
        # Whether it is to be killed, the reason if there is one, and the number of the call that
        # ran then, 0 if that is not known.
        self.is_terminating = False
        self.kill_reason: ScriptError | None = None
        self.killed_number = 0
        # It was asked where its script is, when it is killed at the latest, and what it has told.
        self.is_asked = False
        self.kill_at = inf
        self.trace = b""

    # Sending

    def introduce(self) -> None:
        """Send what the host runs, once the zygote has its end of the channel."""
        self.other_end.close()
        self.page.close_descriptor()
        program = self.program
        head = orjson.dumps(
            {
                "language": program.language,
                "name": program.name,
                "code": program.code,
                "libraries": [(library.name, library.code) for library in program.libraries],
                "inputSchema": program.input_schema,
                "outputSchema": program.output_schema,
                "secrets": program.secrets,
                "tables": [(each.name, each.problem, each.is_passing) for each in self.tables],
                "memoryMb": program.memory_mb,
                "timeoutSeconds": program.timeout_seconds,
            }
        )
        self._send(wire.HEAD.pack(len(head), 0) + head)

    def has_room(self, target: int, clock: float) -> bool:
        """Whether the host, which may have `target` calls ahead, is to get more calls now."""
        return (
            not (self.is_terminating or self.is_worn_out)
            and not self.is_stuck(clock)
            and self.in_flight * 2 <= target
            and self.bytes_in_flight <= MAX_GROUP_BYTES
        )

    def is_full(self, pace: float | None, clock: float) -> bool:
        """Whether more calls had better go to another host."""
        if pace is not None and self.in_flight * pace >= GROUP_SECONDS / 2:
            return True
        return self.is_terminating or self.is_worn_out or self.is_stuck(clock)

    def send(self, group: Group) -> None:
        """Send calls to be run. Raises OSError if the host has closed the channel."""
        if not self.in_flight:
            self.progress_at = time.monotonic()
        self.groups.append(group)
        self.sent += len(group.calls)
        self.in_flight += len(group.calls)
        self.bytes_in_flight += sum([len(call.body) for call in group.calls])
        self._send(group.frame())

    def reply(self, call: int, number: int, reply: bytes) -> None:
        """Send the reply to a request of a call. Raises OSError as `send` does."""
        if len(self._outbox) > _MAX_OUTBOX_BYTES:
            reply = _UNREAD
        head = orjson.dumps({wire.REPLY: (call, number)})
        self._send(wire.HEAD.pack(len(head), len(reply)) + head + reply)

    def keep_secret(self, call: int, value: str) -> None:
        """Note a secret that a call is about to get, to be masked in the texts of the call."""
        self._call_secrets = (*self.secrets_of(call), value)
        self._secrets_call = call

    def secrets_of(self, call: int) -> tuple[str, ...]:
        """Return the secrets that a call was given; those of other calls are not in its texts."""
        return self._call_secrets if call == self._secrets_call else ()

    def send_rest(self) -> None:
        """Send more of what the pipe had no room for. Raises OSError as `send` does."""
        del self._outbox[: self._write(self._outbox)]
        if not self._outbox:
            self._selector.modify(self.channel, selectors.EVENT_READ, self._on_event)

    def _send(self, content: bytes) -> None:
        """Write as much as goes now, without waiting for a host that may wait for this process."""
        if self._outbox:
            self._outbox += content
            return
        sent = self._write(content)
        if sent < len(content):
            self._outbox += memoryview(content)[sent:]
            self._selector.modify(
                self.channel, selectors.EVENT_READ | selectors.EVENT_WRITE, self._on_event
            )

    def _write(self, content: bytes | bytearray) -> int:
        try:
            return self.channel.send(content)
        except BlockingIOError:
            return 0

    # Answers

    def read(self) -> bytes | None:
        """Read from the host; None if there is nothing yet, empty at the end of it all."""
        try:
            return self.channel.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def answers(self, chunk: bytes) -> Iterator[Answer]:
        """Yield the answers that what was read completes. Raises ProtocolError."""
        return self._answers.read(chunk)

    def unsent_answers(self, *, is_dead: bool = False) -> Iterator[Answer]:
        """Yield the answers that a hanging or dead host has not sent. Raises ProtocolError."""
        return self._answers.find(self.page.unsent(is_dead=is_dead), self._next_number)

    def group_of_next(self, number: int) -> Group:
        """Return the group of the call to be answered next, whose number it must be.

        Raises ProtocolError if it is not.
        """
        if self.groups:
            group = self.groups[0]
            if number == group.first + group.done:
                return group
        raise ProtocolError

    def cross_off_next(self) -> None:
        """Count the next call as answered."""
        group = self.groups[0]
        if group.done < group.kept:
            self.in_flight -= 1
            self.bytes_in_flight -= len(group.calls[group.done].body)
        group.done += 1
        if group.done == len(group.calls):
            self.groups.popleft()

    @property
    def _next_number(self) -> int:
        return self.groups[0].first + self.groups[0].done if self.groups else self.sent + 1

    # What it has not answered

    def unanswered(self) -> Iterator[tuple[int, Call]]:
        """Yield the calls that it has still to answer, with their numbers."""
        for group in self.groups:
            for index in range(group.done, group.kept):
                yield group.first + index, group.calls[index]

    def has_unbegun_calls(self) -> bool:
        """Whether calls wait behind the one that runs."""
        begun = self.page.begun
        return self.in_flight > 1 and any(number > begun for number, _ in self.unanswered())

    def has_begun_next(self, clock: float) -> bool:
        """Whether it has begun the call to be answered next, so long ago that it goes on with it.

        A host that is recalled between its mark and its look gives the call back.
        """
        return self.page.begun >= self._next_number and clock - self.page.began_at > LOOK_SECONDS

    def recall(self, keep: int) -> list[Call]:
        """Take back the calls that the host has not begun, but the first `keep`."""
        self.recalled = self.sent
        self.page.recall(self.sent)
        first = next((number for number, _ in self.unanswered()), 0)
        begun = max(self.page.begun, first + keep - 1)
        taken = [call for group in self.groups for call in group.take_back_after(begun)]
        self.in_flight -= len(taken)
        self.bytes_in_flight -= sum(len(call.body) for call in taken)
        return taken

    # How it is

    def is_stuck(self, clock: float) -> bool:
        """Whether the host is busy with something slow."""
        if not self.is_ready or not self.in_flight:
            return False
        patience = max(STUCK_SECONDS, min(_STUCK_CALLS * self.pace, _MOST_STUCK_SECONDS))
        return self.has_been_reclaimed or clock - self.progress_at > patience

    def computes(self, clock: float) -> bool:
        """Whether the host is busy with fast calls; their answers may not have been read yet."""
        if not self.in_flight or self.has_been_reclaimed:
            return False
        began_at = self.page.began_at
        return not began_at or clock - began_at <= STUCK_SECONDS or not self.is_stuck(clock)

    @property
    def has_been_reclaimed(self) -> bool:
        """Whether the calls behind the slow one that it runs were taken away."""
        return self._reclaimed_behind == self._next_number

    def mark_reclaimed(self) -> None:
        """Note that the calls behind the one that runs were taken away."""
        self._reclaimed_behind = self._next_number

    def is_overdue(self, clock: float) -> bool:
        """Whether the running call, or the start of the host, is over its time limit."""
        limit = self.program.timeout_seconds
        if not self.is_ready:
            return clock - self.progress_at > max(limit, _START_SECONDS)
        if self.page.running and clock - self.page.began_at >= limit:
            return True
        # What a script wrote into the page does not help it beyond this.
        return clock - self.progress_at >= limit + _FORGERY_SECONDS

    def deadline(self) -> float:
        """Return until when, by the monotonic clock, the call that runs may run."""
        clock, limit = time.monotonic(), self.program.timeout_seconds
        began_at = self.page.began_at
        # What a script has written there may be no number, which is not below the clock either.
        return max(began_at if began_at <= clock else clock, clock - limit) + limit

    def running_call(self, number: int) -> tuple[CallSite, Call] | None:
        """Return the call with this number where it runs, with its site."""
        if not self.runs(number):
            return None
        group = self.groups[0]
        return group.site, group.calls[group.done]

    def runs(self, number: int) -> bool:
        """Whether this is the call that the host is at, as far as it has answered."""
        if self.is_terminating or not self.groups:
            return False
        group = self.groups[0]
        return group.done < group.kept and number == group.first + group.done

    @property
    def flow_id(self) -> int:
        """The flow of the call that runs."""
        return self.groups[0].site.flow_id if self.groups else 0

    def next_look(self, clock: float) -> float:
        """Return when to look at a host again that has calls."""
        may_get_stuck = self.in_flight > 1 and not self.has_been_reclaimed
        look = clock + (STUCK_SECONDS if may_get_stuck else LOOK_SECONDS)
        deadline = self.page.began_at + self.program.timeout_seconds
        return min(look, deadline) if self.page.running and deadline > clock else look

    # Its end

    def note_kill_reason(self, reason: ScriptError) -> None:
        """Note why the host is to be killed, and which call it runs."""
        running = self.page.running
        self.kill_reason = reason
        self.killed_number = running if running in dict(self.unanswered()) else 0

    def begin_asking(self, clock: float) -> None:
        """Wait a moment for the host to tell where its script is; it gets no more calls."""
        self.is_terminating = self.is_asked = True
        self.kill_at = clock + _TELLING_SECONDS

    @property
    def has_told(self) -> bool:
        """Whether it has told where its script is, or has ended the call."""
        return interruption.is_whole(self.trace) or not self._still_runs()

    def without_trace(self, chunk: bytes) -> bytes:
        """Take from the pipe's content what it tells about its script; return the rest."""
        if not self.is_asked:
            return chunk
        if self.trace:
            self.trace += chunk[: interruption.MAX_BYTES]
            return b""
        before, beginning, after = chunk.partition(interruption.BEGINNING)
        if beginning:
            self.trace = beginning + after
        return before

    def _still_runs(self) -> bool:
        return any(number == self.killed_number for number, _ in self.unanswered())

    def running_since(self, number: int) -> float:
        """Return since when this call runs, by the monotonic clock; 0 if another runs or none."""
        return self.page.began_at if number == self.page.running else 0.0

    def has_more(self) -> bool:
        """Whether there is still something to read from a dead host."""
        try:
            return bool(self.channel.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def stop_listening(self) -> None:
        """Have the selector ignore this host; again, if it does already."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(self.channel)

    def close(self) -> None:
        """Close the worker's end of channel and page. The host ends by that."""
        self.stop_listening()
        self.channel.close()
        self.other_end.close()
        self.page.close_descriptor()


def _channel() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
    ours.setblocking(False)
    return ours, theirs

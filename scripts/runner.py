"""Runs scripts in script hosts and says what became of each call.

A worker has one HostPool. It feeds hosts with groups of calls, about 20 ms of work at a time, so
that the pipe costs little where scripts are fast and every host has one call where they are slow.
It watches them: a host that runs over a time limit is killed, the call that did it gets the error,
and the others of its group run again elsewhere.
"""

import contextlib
import fcntl
import mmap
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from scripts import host as wire
from scripts.envelope import MAX_OUTPUT_BYTES, plain_text
from scripts.errors import ScriptError, ScriptKilled, ScriptTimedOut

# The user that scripts run as when the worker is root. No account has to exist.
SCRIPT_UID = 64123

GROUP_SECONDS = 0.02
MAX_GROUP_CALLS = 500
MAX_GROUP_BYTES = 1024 * 1024
# Two groups may be on their way to a host, so that it need not wait for the next.
MAX_CALLS_AHEAD = 2 * MAX_GROUP_CALLS
# How long outcomes may wait for more of them to be reported together.
REPORT_SECONDS = 0.005
# A host without progress for so long is busy with something slow.
STUCK_SECONDS = 0.01
# What a script can gain by forging the page that shows what it does.
FORGERY_SECONDS = 0.9
LOOK_SECONDS = 0.1
START_SECONDS = 10.0
IDLE_SECONDS = 60.0
# With more hosts than this, idle ones are not kept warm for long.
MAX_HOSTS = 64
IDLE_SECONDS_IN_A_CROWD = 1.0
# So often may a call be lost without being to blame.
MAX_LOSSES = 3
MAX_KNOWN_PROGRAMS = 256
SMOOTHING = 0.3
MAX_RETRY_SECONDS = 366 * 24 * 3600

_MAX_EXTRA_BYTES = 8 * 1024 * 1024
_READ_BYTES = 256 * 1024
_SOCKET_BUFFER_BYTES = 1024 * 1024

_START_ZYGOTE = (
    "import sys; sys.path += sys.argv[4:]; from scripts.host import main; main()  # script host"
)


@dataclass(frozen=True, slots=True)
class Program:
    """One script version: what a host runs."""

    version_id: int
    name: str
    language: str
    code: str
    timeout_seconds: float
    memory_mb: int


@dataclass(frozen=True, slots=True)
class CallSite:
    """What the calls of a step have in common."""

    flow: str
    step: str
    queue: str
    is_last: bool


@dataclass(slots=True)
class Call:
    """One message handed to a script. ``body`` is the envelope as JSON text in UTF-8."""

    key: Any
    correlation_id: str
    attempt: int
    delivery_id: str
    body: bytes


@dataclass(slots=True)
class Outcome:
    """What became of a call. The times are epoch seconds, measured in the host."""

    call: Call
    output: bytes | None
    error: ScriptError | None
    warning: str | None
    logs: list[dict[str, Any]]
    started_at: float
    finished_at: float


class _Nonsense(Exception):
    """A host answered what no host answers."""


class _Group:
    """The calls of one frame. Those from ``kept`` on were taken back."""

    __slots__ = ("calls", "done", "first", "kept", "lane", "sent_at")

    def __init__(self, lane: "_Lane", calls: list[Call], first: int) -> None:
        self.lane = lane
        self.calls = calls
        self.first = first
        self.done = 0
        self.kept = len(calls)
        self.sent_at = time.time()

    def frame(self) -> bytes:
        head = orjson.dumps(
            {
                "site": self.lane.site_facts,
                "calls": [
                    (c.correlation_id, c.attempt, c.delivery_id, len(c.body)) for c in self.calls
                ],
            }
        )
        bodies = b"".join([call.body for call in self.calls])
        return wire.HEAD.pack(len(head), len(bodies)) + head + bodies


class _Lane:
    """The calls of one step that wait for a host, and the hosts that are busy with the step."""

    def __init__(self, program: Program, site: CallSite) -> None:
        self.program = program
        self.site = site
        self.site_facts = (site.flow, site.step, site.queue, site.is_last)
        self.limit = 1
        self.waiting: deque[Call] = deque()
        self.hosts: list[_Host] = []

    def take(self, most: int) -> list[Call]:
        """Take the next group off the waiting calls: at least one, at most so many bytes."""
        waiting = self.waiting
        calls = [waiting.popleft()]
        room = MAX_GROUP_BYTES - len(calls[0].body)
        while waiting and len(calls) < most:
            room -= len(waiting[0].body)
            if room < 0:
                break
            calls.append(waiting.popleft())
        return calls

    def put_back(self, calls: list[Call]) -> None:
        self.waiting.extendleft(reversed(calls))


# Number, kind, output, JSON, start, seconds.
_Answer = tuple[int, int, bytes, bytes, float, float]


class _Host:
    """The worker's side of one host: what is on its way to it and what came back."""

    def __init__(self, number: int, program: Program) -> None:
        self.number = number
        self.program = program
        self.channel, self.other_end = _channel()
        self.memory_descriptor = _shared_memory()
        self._shared = memoryview(mmap.mmap(self.memory_descriptor, wire.SHARED_BYTES))
        self._times = self._shared.cast("d")
        self._numbers = self._shared.cast("Q")
        self._found_to = 0
        self.groups: deque[_Group] = deque()
        self.in_flight = 0
        self.bytes_in_flight = 0
        self.sent = 0
        self.lane: _Lane | None = None
        self.is_greeted = False
        self.is_doomed = False
        self.is_dead = False
        self.is_relieved = False
        self.talks_nonsense = False
        self.sentence: ScriptError | None = None
        self.sentenced_number = 0
        self.progress_at = time.monotonic()
        self.outbox = bytearray()
        self.inbox: list[bytes] = []
        self.inbox_bytes = 0
        self.wanted_bytes = 0

    @property
    def running(self) -> int:
        """The number of the call that runs, 0 between calls. A script can have forged it."""
        return self._numbers[wire.BEGUN] if self._times[wire.BEGAN] else 0

    @property
    def began_at(self) -> float:
        return self._times[wire.BEGAN]

    def accept(self, group: _Group) -> None:
        if not self.in_flight:
            self.progress_at = time.monotonic()
        self.groups.append(group)
        self.sent += len(group.calls)
        self.in_flight += len(group.calls)
        self.bytes_in_flight += sum([len(call.body) for call in group.calls])

    def has_room(self, target: int, now: float) -> bool:
        return (
            not self.is_doomed
            and not self.is_stuck(now)
            and self.in_flight * 2 <= target
            and self.bytes_in_flight <= MAX_GROUP_BYTES
        )

    def is_full(self, pace: float | None, now: float) -> bool:
        """Tell whether more calls had better go to another host."""
        if pace is not None and self.in_flight * pace >= GROUP_SECONDS / 2:
            return True
        return self.is_doomed or self.is_stuck(now)

    def is_stuck(self, now: float) -> bool:
        """Tell whether the host is busy with something slow."""
        if not self.is_greeted or not self.in_flight:
            return False
        return self.is_relieved or now - self.progress_at > STUCK_SECONDS

    def recall(self, keep: int) -> list[Call]:
        """Take back the calls that the host has not begun, but the first ``keep``."""
        self._numbers[wire.RECALLED] = self.sent
        # The host marks a call as begun before it looks whether it is recalled; this gives its
        # mark the time to become visible here.
        time.sleep(0.0002)
        first = next((number for number, _ in self.unanswered()), 0)
        begun = max(self._numbers[wire.BEGUN], first + keep - 1)
        taken: list[Call] = []
        for group in self.groups:
            kept = min(group.kept, max(group.done, begun - group.first + 1))
            taken += group.calls[kept : group.kept]
            group.kept = kept
        self._count()
        return taken

    def unanswered(self) -> Iterator[tuple[int, Call]]:
        for group in self.groups:
            for index in range(group.done, group.kept):
                yield group.first + index, group.calls[index]

    def has_unbegun_calls(self) -> bool:
        return self.in_flight > 1 and any(
            number > self._numbers[wire.BEGUN] for number, _ in self.unanswered()
        )

    def is_overdue(self, now: float) -> bool:
        limit = self.program.timeout_seconds
        if not self.is_greeted:
            return now - self.progress_at > max(limit, START_SECONDS)
        if self.running and now - self.began_at >= limit:
            return True
        # What a script wrote into the page does not help it beyond this.
        return now - self.progress_at >= limit + FORGERY_SECONDS

    def next_look(self, now: float) -> float:
        may_get_stuck = self.in_flight > 1 and not self.is_relieved
        look = now + (STUCK_SECONDS if may_get_stuck else LOOK_SECONDS)
        deadline = self.began_at + self.program.timeout_seconds
        return min(look, deadline) if self.running and deadline > now else look

    def answers(self, chunk: bytes) -> Iterator[_Answer]:
        """Yield the complete answers among what was read from the host."""
        self.inbox.append(chunk)
        self.inbox_bytes += len(chunk)
        if self.inbox_bytes < self.wanted_bytes:
            return
        data = chunk if len(self.inbox) == 1 else b"".join(self.inbox)
        offset = yield from _answers_in(data, self._found_to)
        if offset:
            self.is_relieved = False
        self.inbox = [data[offset:]] if offset < len(data) else []
        self.inbox_bytes = len(data) - offset
        self.wanted_bytes = _wanted_bytes(data, offset)

    def unsent_answers(self) -> Iterator[_Answer]:
        """Yield the answers that a hanging or dead host has left in the shared memory."""
        began = self._times[wire.BEGAN]
        if not began and not self.is_dead:
            return
        size = min(self._numbers[wire.UNSENT], wire.MAX_UNSENT_BYTES)
        data = bytes(self._shared[wire.UNSENT_AT : wire.UNSENT_AT + size])
        if began != self._times[wire.BEGAN]:
            # The host goes on, and may have sent these and put others in their place meanwhile.
            return
        for answer in _answers_in(data, self._found_to):
            # Those before are known; where some are missing in between, the pipe still has them.
            if answer[0] == self.next_number:
                self._found_to = answer[0]
                yield answer

    @property
    def next_number(self) -> int:
        """The number of the call that is to be answered next."""
        return self.groups[0].first + self.groups[0].done if self.groups else self.sent + 1

    def expected(self, number: int) -> tuple[_Group, Call, bool]:
        """Return the call that is to be answered next, its group and whether it is still wanted."""
        if not self.groups or number != self.next_number:
            raise _Nonsense
        group = self.groups[0]
        return group, group.calls[group.done], group.done < group.kept

    def cross_off(self, group: _Group, call: Call) -> None:
        if group.done < group.kept:
            self.in_flight -= 1
            self.bytes_in_flight -= len(call.body)
        group.done += 1
        if group.done == len(group.calls):
            self.groups.popleft()

    def close(self) -> None:
        self.channel.close()
        self.close_other_end()

    def close_other_end(self) -> None:
        """Close what only the host needs, once the zygote has it."""
        if self.memory_descriptor >= 0:
            self.other_end.close()
            os.close(self.memory_descriptor)
            self.memory_descriptor = -1

    def _count(self) -> None:
        calls = [call for _, call in self.unanswered()]
        self.in_flight = len(calls)
        self.bytes_in_flight = sum(len(call.body) for call in calls)


class _Zygote:
    """The worker's side of the process that forks hosts."""

    def __init__(self, uid: int | None) -> None:
        self.control, other_end = socket.socketpair()
        with other_end:
            self._process = subprocess.Popen(
                _zygote_command(other_end.fileno(), uid),
                pass_fds=[other_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                # Some builds of Python find their own library by it. The zygote clears the rest.
                env={k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"},
                start_new_session=True,
            )
        self.control.setblocking(False)
        self._inbox = b""

    def fork(self, host: _Host) -> None:
        message = wire.CONTROL.pack(wire.FORK, host.number, host.program.memory_mb << 20, 0)
        self._send(message, [host.other_end.fileno(), host.memory_descriptor])

    def kill(self, host: _Host) -> None:
        self._send(wire.CONTROL.pack(wire.KILL, host.number, 0, 0), [])

    def deaths(self) -> Iterator[tuple[int, int, bool]] | None:
        """Read which hosts ended, how, and whether for want of memory; None: the zygote ended."""
        try:
            chunk = self.control.recv(_READ_BYTES)
        except BlockingIOError:
            chunk = b""
        except OSError:
            return None
        else:
            if not chunk:
                return None
        data = self._inbox + chunk
        size = len(data) - len(data) % wire.CONTROL.size
        self._inbox = data[size:]
        messages = wire.CONTROL.iter_unpack(data[:size])
        return ((host, status, bool(memory)) for _, host, status, memory in messages)

    def close(self) -> None:
        """End the zygote; it kills and buries its hosts first."""
        self.control.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: bytes, descriptors: list[int]) -> None:
        # A zygote that is gone is noticed when its messages are read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.control.setblocking(True)
            try:
                socket.send_fds(self.control, [message], descriptors)
            finally:
                self.control.setblocking(False)


class HostPool:
    """The hosts of one worker process, kept warm between uses.

    Belongs to the thread that made it: its processes end with that thread. Time limits are watched
    in ``collect``, which therefore is to be called often.
    """

    def __init__(self, uid: int | None = SCRIPT_UID) -> None:
        self._uid = uid if os.geteuid() == 0 else None
        self._selector = selectors.DefaultSelector()
        self._zygote: _Zygote | None = None
        self._numbers = count(1)
        self._hosts: dict[int, _Host] = {}
        self._idle: dict[Program, list[_Host]] = {}
        self._lanes: dict[tuple[Program, CallSite], _Lane] = {}
        self._hungry: dict[_Lane, None] = {}
        self._pace: dict[Program, float] = {}
        self._losses: dict[Any, int] = {}
        self._outcomes: list[Outcome] = []
        self._first_outcome_at = 0.0
        self._is_group_done = False
        self._unfinished = 0
        self._next_look = 0.0
        # What of the seal this system lacks, as far as hosts have told.
        self.missing_measures: set[str] = set()

    def submit(self, program: Program, site: CallSite, calls: list[Call], hosts: int) -> None:
        """Run calls on at most ``hosts`` hosts at once for this step."""
        if not calls:
            return
        lane = self._lanes.get((program, site))
        if lane is None:
            lane = self._lanes[program, site] = _Lane(program, site)
        lane.limit = max(1, hosts)
        lane.waiting.extend(calls)
        self._unfinished += len(calls)
        self._feed(lane, time.monotonic())

    def collect(self, timeout: float) -> list[Outcome]:
        """Wait for outcomes that are worth reporting.

        Returns at once when a group is through or nothing is left to wait for, else a few
        milliseconds after the first outcome, and with an empty list after the timeout.
        """
        now = time.monotonic()
        deadline = now + timeout
        self._pump(0.0)
        while self._unfinished and not self._is_group_done:
            now = time.monotonic()
            until = self._first_outcome_at + REPORT_SECONDS if self._outcomes else deadline
            if now >= until or now >= deadline:
                break
            self._pump(max(0.0, min(until, deadline, self._next_look) - now))
        outcomes, self._outcomes = self._outcomes, []
        self._is_group_done = False
        return outcomes

    def outstanding(self) -> int:
        """Count the calls of which the outcome was not collected yet."""
        return self._unfinished + len(self._outcomes)

    def seconds_per_call(self, program: Program) -> float | None:
        """Return the smoothed run time of a program, None before its first call."""
        return self._pace.get(program)

    def cancel(self, keys: set[Any]) -> list[Call]:
        """Withdraw and return the calls not yet begun, kill the running ones.

        Those come as outcomes with ScriptKilled.
        """
        for host in list(self._hosts.values()):
            if any(call.key in keys for _, call in host.unanswered()):
                self._take_back(host, keep=0)
                self._condemn_if_running(host, keys)
        withdrawn: list[Call] = []
        for lane in self._lanes.values():
            withdrawn += [call for call in lane.waiting if call.key in keys]
            lane.waiting = deque(call for call in lane.waiting if call.key not in keys)
        self._unfinished -= len(withdrawn)
        for call in withdrawn:
            self._losses.pop(call.key, None)
        return withdrawn

    def close(self) -> None:
        """Kill everything. Calls that were outstanding are forgotten."""
        if self._zygote is not None:
            self._zygote.close()
        for host in self._hosts.values():
            host.close()
        self._selector.close()
        self._selector = selectors.DefaultSelector()
        self._zygote = None
        for memory in (self._hosts, self._idle, self._lanes, self._hungry, self._losses):
            memory.clear()
        self._outcomes.clear()
        self._unfinished = 0

    def _pump(self, timeout: float) -> None:
        """Move what can be moved, watch the hosts, and hand out waiting calls."""
        for key, events in self._selector.select(timeout):
            host = key.data
            if host is None:
                self._read_deaths()
            elif host.number in self._hosts:
                self._serve(host, events)
        now = time.monotonic()
        if now >= self._next_look:
            self._look(now)
        while self._hungry:
            self._feed(self._hungry.popitem()[0], now)

    # Handing out calls

    def _feed(self, lane: _Lane, now: float) -> None:
        """Give waiting calls to the lane's busy hosts, and to more of them if those are full."""
        pace = self._pace_of(lane, now)
        target = _calls_ahead(pace)
        for host in lane.hosts:
            self._top_up(host, lane, target, now)
        while lane.waiting and len(lane.hosts) < lane.limit:
            if not all(host.is_full(pace, now) for host in lane.hosts):
                break
            host = self._take_host(lane)
            self._top_up(host, lane, target, now)
        self._release_idle_hosts(lane, now)
        self._next_look = min(self._next_look, now + STUCK_SECONDS)

    def _pace_of(self, lane: _Lane, now: float) -> float | None:
        """Return the seconds a call takes, as far as known: the first one's age tells, too."""
        pace = self._pace.get(lane.program)
        if pace is not None:
            return pace
        ages = [now - host.progress_at for host in lane.hosts if host.is_stuck(now)]
        return max(ages, default=None)

    def _top_up(self, host: _Host, lane: _Lane, target: int, now: float) -> None:
        while lane.waiting and host.has_room(target, now):
            group = _Group(
                lane, lane.take(min(MAX_GROUP_CALLS, target - host.in_flight)), host.sent + 1
            )
            host.accept(group)
            self._send(host, group.frame())

    def _take_host(self, lane: _Lane) -> _Host:
        idle = self._idle.get(lane.program)
        host = idle.pop() if idle else self._new_host(lane.program)
        host.lane = lane
        lane.hosts.append(host)
        return host

    def _new_host(self, program: Program) -> _Host:
        if self._zygote is None:
            self._zygote = _Zygote(self._uid)
            self._selector.register(self._zygote.control, selectors.EVENT_READ, None)
        host = _Host(next(self._numbers), program)
        self._hosts[host.number] = host
        self._selector.register(host.channel, selectors.EVENT_READ, host)
        self._zygote.fork(host)
        host.close_other_end()
        self._send(host, _program_frame(program))
        return host

    def _release_idle_hosts(self, lane: _Lane, now: float) -> None:
        for host in [host for host in lane.hosts if not host.in_flight and not host.is_doomed]:
            lane.hosts.remove(host)
            host.lane = None
            host.progress_at = now
            self._idle.setdefault(lane.program, []).append(host)
        if not lane.hosts and not lane.waiting:
            self._lanes.pop((lane.program, lane.site), None)

    # Talking to hosts

    def _serve(self, host: _Host, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            content, host.outbox = host.outbox, bytearray()
            self._selector.modify(host.channel, selectors.EVENT_READ, host)
            self._send(host, content)
        if events & selectors.EVENT_READ and not self._read(host):
            # Closed: a host does that by ending, and a script by trying.
            self._selector.unregister(host.channel)
            self._doom(host)

    def _send(self, host: _Host, content: bytes | bytearray) -> None:
        """Write as much as goes now, without ever waiting for a host that waits for us."""
        if host.outbox:
            host.outbox += content
            return
        try:
            sent = host.channel.send(content)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._doom(host)
            return
        if sent < len(content):
            host.outbox += memoryview(content)[sent:]
            self._selector.modify(host.channel, selectors.EVENT_READ | selectors.EVENT_WRITE, host)

    def _read(self, host: _Host) -> bool:
        """Read what a host has answered; False at the end of it all."""
        try:
            chunk = host.channel.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if chunk and not host.talks_nonsense:
            try:
                self._take_answers(host, host.answers(chunk))
            except _Nonsense:
                self._condemn_for_nonsense(host)
        return bool(chunk)

    def _read_unsent(self, host: _Host) -> None:
        """Read the answers that a host has finished but is not able to send."""
        if not host.talks_nonsense:
            try:
                self._take_answers(host, host.unsent_answers())
            except _Nonsense:
                self._condemn_for_nonsense(host)

    def _condemn_for_nonsense(self, host: _Host) -> None:
        host.talks_nonsense = True
        self._condemn(host, ScriptKilled("protocol: the host's answer made no sense"))

    def _take_answers(self, host: _Host, answers: Iterator[_Answer]) -> None:
        now, spent, returned = time.time(), 0.0, []
        outcomes = self._outcomes
        before = len(outcomes)
        try:
            for number, kind, output, extra, started_at, seconds in answers:
                if kind == wire.HELLO:
                    self._welcome(host, extra)
                    continue
                group, call, is_wanted = host.expected(number)
                if kind == wire.RETURNED:
                    host.cross_off(group, call)
                    returned += [call] if is_wanted else []
                    continue
                if not is_wanted:
                    raise _Nonsense
                if not group.sent_at <= started_at <= now or not 0 <= seconds <= now:
                    # The clock was set, or a script has forged the answer.
                    started_at, seconds = now, 0.0
                error, warning, logs = _details(kind, extra)
                host.cross_off(group, call)
                result = output if error is None else None
                ended_at = min(started_at + seconds, now)
                outcomes.append(Outcome(call, result, error, warning, logs, started_at, ended_at))
                spent += seconds
                if group.done == group.kept:
                    self._is_group_done = True
        finally:
            self._note_progress(host, len(outcomes) - before, spent, returned)

    def _note_progress(
        self, host: _Host, finished: int, spent: float, returned: list[Call]
    ) -> None:
        now = time.monotonic()
        if host.lane is not None:
            host.lane.put_back(returned)
            self._hungry[host.lane] = None
        if not finished:
            return
        if len(self._outcomes) == finished:
            self._first_outcome_at = now
        host.progress_at = now
        self._unfinished -= finished
        self._learn_pace(host.program, spent / finished, finished)
        if self._losses:
            for outcome in self._outcomes[-finished:]:
                self._losses.pop(outcome.call.key, None)

    def _learn_pace(self, program: Program, seconds: float, calls: int) -> None:
        known = self._pace.get(program)
        if known is None and len(self._pace) >= MAX_KNOWN_PROGRAMS:
            del self._pace[next(iter(self._pace))]
        weight = 1.0 if known is None else 1 - (1 - SMOOTHING) ** calls
        self._pace[program] = weight * seconds + (1 - weight) * (known or 0.0)

    def _welcome(self, host: _Host, extra: bytes) -> None:
        if host.is_greeted:
            raise _Nonsense
        host.is_greeted = True
        host.progress_at = time.monotonic()
        self.missing_measures.update(orjson.loads(extra))

    # Watching hosts

    def _look(self, now: float) -> None:
        """End hosts that are over a limit; take calls away from those that are stuck."""
        self._next_look = now + LOOK_SECONDS
        for host in list(self._hosts.values()):
            if host.is_doomed:
                continue
            if not host.in_flight:
                self._end_if_idle_for_long(host, now)
            elif host.is_overdue(now):
                self._condemn(host, _timed_out(host))
            else:
                self._next_look = min(self._next_look, host.next_look(now))
                if host.is_stuck(now) and host.in_flight > 1:
                    self._relieve(host)
        for lane in self._lanes.values():
            if lane.waiting:
                self._hungry[lane] = None

    def _relieve(self, host: _Host) -> None:
        """Take from a host with a slow call what is done before it and what waits behind it."""
        host.is_relieved = True
        self._read_unsent(host)
        if not host.is_doomed and host.has_unbegun_calls():
            # One stays, so that its time limit goes on whatever the page tells.
            self._take_back(host, keep=1)

    def _take_back(self, host: _Host, keep: int) -> None:
        if host.lane is not None:
            host.lane.put_back(host.recall(keep))
            self._hungry[host.lane] = None

    def _end_if_idle_for_long(self, host: _Host, now: float) -> None:
        idle = self._idle.get(host.program, [])
        if host not in idle:
            return
        patience = IDLE_SECONDS if len(self._hosts) <= MAX_HOSTS else IDLE_SECONDS_IN_A_CROWD
        if now - host.progress_at > patience:
            idle.remove(host)
            self._doom(host)

    def _condemn(self, host: _Host, error: ScriptError) -> None:
        """Kill a host for what its running call does."""
        host.sentence = error
        host.sentenced_number = host.running
        self._doom(host)

    def _condemn_if_running(self, host: _Host, keys: set[Any]) -> None:
        if not host.in_flight:
            # It claims to have begun nothing, which may be forged.
            self._doom(host)
        for number, call in host.unanswered():
            if number == host.running and call.key in keys:
                self._condemn(host, ScriptKilled("cancelled"))

    def _doom(self, host: _Host) -> None:
        host.is_doomed = True
        if self._zygote is not None:
            self._zygote.kill(host)

    # Burying hosts

    def _read_deaths(self) -> None:
        deaths = self._zygote.deaths() if self._zygote is not None else None
        if deaths is None:
            self._lose_zygote()
            return
        for number, status, memory in deaths:
            if number in self._hosts:
                self._bury(self._hosts[number], status, memory)

    def _lose_zygote(self) -> None:
        """Go on without a zygote that somebody killed: its hosts died with it."""
        if self._zygote is not None:
            self._selector.unregister(self._zygote.control)
            self._zygote.close()
            self._zygote = None
        for host in list(self._hosts.values()):
            self._bury(host, None, False)

    def _bury(self, host: _Host, status: int | None, memory: bool) -> None:
        """Report the call that a dead host leaves behind unfinished; run the others again."""
        host.is_dead = True
        self._read_the_rest(host)
        self._forget(host)
        lost = list(host.unanswered())
        guilty = self._guilty_number(host, lost, status)
        for number, call in lost:
            if number == guilty:
                error = host.sentence or _death(host, status, memory)
                self._report(call, error, host.began_at if number == host.running else 0.0)
        if host.lane is not None:
            host.lane.put_back([call for number, call in lost if number != guilty])
            self._hungry[host.lane] = None

    def _read_the_rest(self, host: _Host) -> None:
        while self._has_more(host) and self._read(host):
            pass
        self._read_unsent(host)

    def _has_more(self, host: _Host) -> bool:
        try:
            return bool(host.channel.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _forget(self, host: _Host) -> None:
        del self._hosts[host.number]
        with contextlib.suppress(KeyError):
            self._selector.unregister(host.channel)
        host.close()
        if host.lane is not None:
            host.lane.hosts.remove(host)
        idle = self._idle.get(host.program, [])
        if host in idle:
            idle.remove(host)
        if not idle:
            self._idle.pop(host.program, None)

    def _guilty_number(
        self, host: _Host, lost: list[tuple[int, Call]], status: int | None
    ) -> int | None:
        """Find the call that a host died of, if it died of one."""
        if not lost:
            return None
        first, call = lost[0]
        running = host.running if any(number == host.running for number, _ in lost) else None
        if host.sentence is not None:
            # Between sentence and death the host may have come to the next call.
            if host.sentenced_number in (0, host.running):
                return running or first
            return None
        if running is not None and status is not None:
            return running
        losses = self._losses.get(call.key, 0) + 1
        self._losses[call.key] = losses
        return first if losses >= MAX_LOSSES else None

    def _report(self, call: Call, error: ScriptError, began_at: float) -> None:
        now, clock = time.time(), time.monotonic()
        started_at = now - (clock - began_at) if 0 < began_at <= clock else now
        if not self._outcomes:
            self._first_outcome_at = clock
        self._outcomes.append(Outcome(call, None, error, None, [], started_at, now))
        self._is_group_done = True
        self._unfinished -= 1
        self._losses.pop(call.key, None)


def _answers_in(data: bytes, known: int) -> Generator[_Answer, None, int]:
    """Yield the complete answers in a piece of a host's stream, but those known by their number.

    Returns where the rest begins.
    """
    offset, end, head_bytes = 0, len(data), wire.ANSWER.size
    unpack = wire.ANSWER.unpack_from
    while end - offset >= head_bytes:
        number, kind, output_bytes, extra_bytes, started, seconds = unpack(data, offset)
        if output_bytes > MAX_OUTPUT_BYTES or extra_bytes > _MAX_EXTRA_BYTES:
            raise _Nonsense
        start = offset + head_bytes
        middle = start + output_bytes
        stop = middle + extra_bytes
        if stop > end:
            break
        offset = stop
        if number > known or kind == wire.HELLO:
            yield number, kind, data[start:middle], data[middle:stop], started, seconds
    return offset


def _wanted_bytes(data: bytes, offset: int) -> int:
    """Return how many bytes the answer has that begins there and is not complete."""
    if len(data) - offset < wire.ANSWER.size:
        return wire.ANSWER.size
    _, _, output_bytes, extra_bytes, _, _ = wire.ANSWER.unpack_from(data, offset)
    return wire.ANSWER.size + int(output_bytes) + int(extra_bytes)


def _calls_ahead(pace: float | None) -> int:
    """Return how many calls may be on their way to a host; one while nothing is known."""
    if pace is None:
        return 1
    return max(1, min(MAX_CALLS_AHEAD, int(GROUP_SECONDS / max(pace, 1e-6))))


def _timed_out(host: _Host) -> ScriptError:
    if not host.is_greeted:
        return ScriptKilled("The script's process did not start in time.")
    return ScriptTimedOut(limit_seconds=host.program.timeout_seconds)


def _death(host: _Host, status: int | None, memory: bool) -> ScriptError:
    if status is None or status == wire.FORK_FAILED:
        return ScriptKilled("The script's process could not be started or was lost.")
    if os.WIFSIGNALED(status):
        return ScriptKilled(signal=os.WTERMSIG(status), memory=memory)
    code = os.WEXITSTATUS(status)
    if code == wire.EXIT_REFUSED:
        return ScriptKilled("The script's process could not give up its rights.", exit_code=code)
    return ScriptKilled(exit_code=code, memory=memory or code == wire.EXIT_OUT_OF_MEMORY)


def _details(
    kind: int, extra: bytes
) -> tuple[ScriptError | None, str | None, list[dict[str, Any]]]:
    """Read the part of an answer that only some have. A script may have forged it."""
    if kind == wire.OUTPUT and not extra:
        return None, None, []
    try:
        content = orjson.loads(extra)
        warning = content["warning"]
        return (
            None if kind == wire.OUTPUT else _error(kind, content["error"]),
            None if warning is None else plain_text(warning, wire.MAX_TEXT_LENGTH),
            [_log_line(line) for line in content["logs"][: wire.MAX_LOG_LINES + 1]],
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise _Nonsense from None


def _error(kind: int, facts: dict[str, Any]) -> ScriptError:
    for name, value in facts.items():
        if isinstance(value, str):
            facts[name] = plain_text(value, wire.MAX_TEXT_LENGTH)
        elif value is not None:
            facts[name] = max(0, min(value, MAX_RETRY_SECONDS))
    return wire.ERRORS[kind](**facts)


def _log_line(line: dict[str, Any]) -> dict[str, Any]:
    return {
        "at": max(0.0, min(line["at"], time.time())),
        "level": plain_text(line["level"], wire.MAX_LOG_LENGTH),
        "text": plain_text(line["text"], wire.MAX_LOG_LENGTH),
    }


def _program_frame(program: Program) -> bytes:
    head = orjson.dumps({"language": program.language, "name": program.name, "code": program.code})
    return wire.HEAD.pack(len(head), 0) + head


def _zygote_command(control: int, uid: int | None) -> list[str]:
    where = [str(Path(module.__file__ or "").parents[1]) for module in (wire, orjson)]
    facts = [str(control), str(os.getpid()), str(-1 if uid is None else uid)]
    return [sys.executable, "-I", "-S", "-X", "utf8", "-c", _START_ZYGOTE, *facts, *where]


def _channel() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
    ours.setblocking(False)
    return ours, theirs


def _shared_memory() -> int:
    """Make memory to share with a host, who must not be able to take it away again."""
    if not hasattr(os, "memfd_create"):
        with tempfile.TemporaryFile() as file:
            file.truncate(wire.SHARED_BYTES)
            return os.dup(file.fileno())
    page = os.memfd_create("script-host", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(page, wire.SHARED_BYTES)
    fcntl.fcntl(
        page, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    )
    return page

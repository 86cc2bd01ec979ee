"""Runs scripts in script hosts and says what became of each call: the HostPool of a worker.

It feeds hosts with groups of calls of about 20 ms of work. So the pipe costs little where scripts
are fast, and each host has one call where they are slow. It watches the hosts: one that is over a
time limit is killed, the call that ran gets the error, and the others of its group run again
elsewhere.

The way of a call, here unless another file is named:

    submit              puts it into its step's lane, where it waits             lane.py
    _feed               takes it off with others, as a group, for a host         group.py
    host.send           writes the group into the host's pipe                    host_client.py
                        the host runs it, between the worker and it is           host.py, wire.py
    _read               finds its answer in the pipe                             answers.py
    _take_answers       checks the answer and makes an outcome of it
    _pass_on_replies    meanwhile sends its host the replies to its requests     requests.py
    collect             hands the outcome out

And of one that goes wrong:

    _look               a host with a slow call has the calls behind it taken away, one over
                        its time limit is killed by the zygote                   hosts.py
    _on_host_exit       the call that ended the host gets the error, the others
                        go back into their lane                                  attribution.py

Calls of programs that need no host go to a source of outcomes of their own, see `sources.py`.
"""

import logging
import os
import selectors
import time
from collections import Counter
from collections.abc import Container, Iterator
from functools import partial
from math import inf
from typing import Any

import orjson

from scripts.host.sandbox import SCRIPT_UIDS
from scripts.pool.answers import Answer, log_line, outcome_of
from scripts.pool.attribution import FailureAttribution, exit_error, overdue_error, restart_reason
from scripts.pool.host_client import LOOK_SECONDS, STUCK_SECONDS, HostClient
from scripts.pool.hosts import CORES, Hosts
from scripts.pool.interruption import located
from scripts.pool.lane import Lane
from scripts.pool.pace import Pace, calls_ahead
from scripts.pool.requests import Request, RequestDispatcher
from scripts.pool.running import RunningCall, epoch_of
from scripts.pool.services import GivenTable, MakeServices, PoolServices
from scripts.pool.sources import OutcomeSource
from scripts.pool.thread_pool import ThreadPool
from scripts.pool.zygote_client import SharedZygote
from scripts.protocol import wire
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.errors import ScriptError, ScriptKilled, ScriptOutOfMemory
from scripts.protocol.wire import ProtocolError

logger = logging.getLogger(__name__)

# How long outcomes may wait for more of them to be reported together.
REPORT_SECONDS = 0.005
# How long fewer than `_FEW_OUTCOMES` may wait while their hosts have the next calls already: a
# commit costs as much for one as for several. Calls over `_LONG_CALL_SECONDS` wait for no other.
_GATHER_SECONDS = 0.1
_LONG_CALL_SECONDS = 0.02
_FEW_OUTCOMES = 16
# Calls that are faster wait for nothing but a core. More hosts than cores would be in their way.
_COMPUTING_SECONDS = 0.001
# How soon it is asked again for tables that are being made.
_TABLE_LOOK_SECONDS = 0.01


class HostPool:
    """The hosts of one worker process, kept warm between uses.

    Belongs to the thread that made it: its processes end with that thread. Time limits are watched
    in `collect`, which therefore is to be called often. An error of a script is on its outcome; no
    method raises it. `missing_measures` names what of the sandbox this system lacks, as far as
    hosts have reported. `restarts` counts the hosts that a call has ended, by its step and why; the
    user of the pool clears it. `peak_bytes` is the most memory that any ended host took beyond what
    each begins with.
    """

    def __init__(
        self,
        uids: tuple[int, int] = SCRIPT_UIDS,
        services: MakeServices = dict,
        callables: type[OutcomeSource] | None = None,
        allow_unsandboxed: bool = False,
        request_threads: type[ThreadPool[Request]] = ThreadPool,
        keeps_progress: bool = False,
        shared_zygote: SharedZygote | None = None,
        cores: int = CORES,
    ) -> None:
        """Start nothing yet. Under root, scripts will run as these users (see `host/sandbox.py`).

        `services` makes what scripts may ask for while they run, by name. `callables` runs the
        programs that need no host. `allow_unsandboxed`: scripts run even where the
        sandbox is incomplete. `request_threads`: the threads in which services reply.
        `keeps_progress`: outcomes have what the script has told last. `shared_zygote`: it
        forks the hosts as long as it lives; then a zygote of the pool's own does. `cores`: how many
        the hosts of fast calls may keep busy.
        """
        self.missing_measures: set[str] = set()
        self.restarts: Counter[tuple[CallSite, str]] = Counter()
        self.peak_bytes = 0
        self._uids = uids if os.geteuid() == 0 else None
        self._allow_unsandboxed = allow_unsandboxed
        self._keeps_progress = keeps_progress
        self._shared_zygote = shared_zygote
        self._cores = cores
        self._services = PoolServices(services)
        self._request_threads = request_threads
        self._requests: RequestDispatcher | None = None
        self._callables_type = callables
        self._callables: OutcomeSource | None = None
        self._lanes: dict[tuple[Program, CallSite], Lane] = {}
        # The lanes to feed: they have got calls, or their hosts have got room.
        self._ready_lanes: dict[Lane, None] = {}
        self._pace = Pace()
        self._attribution = FailureAttribution()
        self._outcomes: list[Outcome] = []
        self._first_outcome_at = 0.0
        self._is_group_done = False
        # The lanes that the outcomes come from; None is for all that wait for no other.
        self._reporting: set[Lane | None] = set()
        self._unfinished = 0
        self._next_look = 0.0
        self._open()

    def _open(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._hosts = Hosts(
            self._selector,
            self._uids,
            self._allow_unsandboxed,
            self._serve,
            self._on_zygote_event,
            self._shared_zygote,
            self._cores,
        )

    def submit(self, program: Program, site: CallSite, calls: list[Call], hosts: int) -> None:
        """Run calls on at most `hosts` hosts at once for this step, and at least on one.

        Returns at once; `collect` gives the outcomes, in any order. The limit replaces that of an
        earlier submit for the step. Raises OSError if the system lets no host be made.
        """
        if not calls:
            return
        if self._callables_type is not None and self._callables_type.runs(program):
            callables = self._open_callables(self._callables_type)
            self._unfinished += len(calls)
            callables.submit(program, site, calls, hosts)
            return
        lane = self._lanes.get((program, site))
        if lane is None:
            lane = self._lanes[program, site] = Lane(program, site)
        lane.limit = max(1, hosts)
        lane.waiting.extend(calls)
        self._unfinished += len(calls)
        self._feed(lane, time.monotonic())

    def collect(self, timeout: float) -> list[Outcome]:
        """Wait at most `timeout` seconds for outcomes that are worth reporting.

        Returns at once when a group is through or nothing is left to wait for, else 5 ms after the
        first outcome, and with an empty list after the timeout. A few outcomes of calls
        under 20 ms wait 100 ms for more, beyond the timeout too, while no host of their steps comes
        to the end of its calls.
        """
        deadline = time.monotonic() + timeout
        self._pump(0.0)
        while self._unfinished:
            gather_until, clock = self._gather_until(), time.monotonic()
            if deadline <= clock < gather_until:
                return []
            until = min(deadline, gather_until or self._report_at())
            if clock >= until:
                break
            self._pump(max(0.0, min(until, self._next_look) - clock))
        outcomes, self._outcomes = self._outcomes, []
        self._is_group_done = False
        self._reporting.clear()
        return outcomes

    def _gather_until(self) -> float:
        """Return until when a few outcomes wait for more; 0 where they do not."""
        if not 0 < len(self._outcomes) < _FEW_OUTCOMES:
            return 0.0
        if not all(map(self._may_gather, self._reporting)):
            return 0.0
        return self._first_outcome_at + _GATHER_SECONDS

    def _report_at(self) -> float:
        """Return when outcomes that do not gather are reported."""
        if not self._outcomes:
            return inf
        return 0.0 if self._is_group_done else self._first_outcome_at + REPORT_SECONDS

    def _may_gather(self, lane: Lane | None) -> bool:
        if lane is None or not lane.has_next_calls():
            return False
        return (self._pace.of(lane.program) or inf) < _LONG_CALL_SECONDS

    def outstanding(self) -> int:
        """Count the calls whose outcome was not collected yet."""
        return self._unfinished + len(self._outcomes)

    def seconds_per_call(self, program: Program) -> float | None:
        """Return the smoothed run time of a program in seconds, None before its first call."""
        return self._pace.of(program)

    def learn_pace(self, program: Program, seconds: float) -> None:
        """Take in how many seconds a call took that ran elsewhere."""
        self._pace.learn(program, seconds, 1)

    def running(self, keys: Container[Any], seconds: float) -> Iterator[RunningCall]:
        """Yield those calls of these keys that have been running for so long, with their logs."""
        clock = time.monotonic()
        for host in self._hosts:
            number = host.page.running
            since = host.running_since(number)
            if not number or not 0 < since <= clock - seconds:
                continue
            call = dict(host.unanswered()).get(number)
            if call is not None and call.key in keys:
                progress = self._progress_of(host, number)
                yield RunningCall(call, epoch_of(since), self._log_of(host, number), progress)
        if self._callables is not None:
            yield from self._callables.running(keys, seconds)

    def cancel(self, keys: set[Any]) -> list[Call]:
        """Withdraw and return the calls with these keys that were not begun; kill those that run.

        The killed ones come as outcomes with ScriptKilled. Unknown keys are ignored.
        """
        for host in self._hosts:
            if any(call.key in keys for _, call in host.unanswered()):
                self._take_back(host, keep=0)
                self._kill_if_running(host, keys)
        withdrawn = self.withdraw(keys)
        if self._callables is not None:
            self._callables.cancel(keys)
        return withdrawn

    def withdraw(self, keys: set[Any]) -> list[Call]:
        """Withdraw and return the calls with these keys that no host has."""
        withdrawn = [call for lane in self._lanes.values() for call in lane.withdraw(keys)]
        if self._callables is not None:
            withdrawn += self._callables.withdraw(keys)
        self._unfinished -= len(withdrawn)
        self._attribution.forget(withdrawn)
        return withdrawn

    def watch_idle_hosts(self) -> None:
        """Watch the hosts that have nothing to do until they are used again.

        For a pool that may not be collected for a while: the zygote kills a host whose script goes
        on computing behind its answer, even while this process does something else.
        """
        for host in self._hosts.idle():
            self._hosts.watch(host)

    def end_idle_hosts(self) -> None:
        """End the hosts that have nothing to do and wait for that, 1 s at most."""
        idle = self._hosts.idle()
        for host in idle:
            self._hosts.kill(host)
        deadline = time.monotonic() + 1.0
        while any(host in self._hosts for host in idle) and time.monotonic() < deadline:
            self._pump(0.1)

    def close(self) -> None:
        """Kill everything, in 2 s at most. Calls that were outstanding are forgotten.

        The pool can be used again.
        """
        self._hosts.close()
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        self._services.close()
        if self._callables is not None:
            self._callables.close()
            self._callables = None
        self._selector.close()
        for memory in (self._lanes, self._ready_lanes, self._attribution, self._outcomes):
            memory.clear()
        self._reporting.clear()
        self._unfinished = 0
        self._open()

    def _pump(self, timeout: float) -> None:
        """Handle what is ready, watch the hosts, and hand out waiting calls."""
        for key, events in self._selector.select(timeout):
            key.data(events)
        clock = time.monotonic()
        if clock >= self._next_look:
            self._look(clock)
        while self._ready_lanes:
            self._feed(self._ready_lanes.popitem()[0], clock)

    # Handing out calls

    def _feed(self, lane: Lane, clock: float) -> None:
        """Give waiting calls to the lane's busy hosts, and to more of them if those are full."""
        if (tables := self._tables_of(lane, clock)) is None:
            return
        pace = self._pace_of(lane, clock)
        target = calls_ahead(pace)
        # Those beyond the limit, which was higher, end what they have.
        for host in lane.hosts[: lane.limit]:
            host.pace = pace or 0.0
            if host.tables == tables:
                self._top_up(host, lane, target, clock)
        while lane.waiting and len(lane.hosts) < lane.limit:
            if not all(host.is_full(pace, clock) or host.tables != tables for host in lane.hosts):
                break
            if lane.hosts and self._is_fast(lane.program) and self._are_cores_taken(clock):
                break
            host = self._hosts.take(lane.program, tables)
            host.lane, host.pace = lane, pace or 0.0
            lane.hosts.append(host)
            self._top_up(host, lane, target, clock)
        self._release_idle_hosts(lane, clock)
        self._next_look = min(self._next_look, clock + STUCK_SECONDS)

    def _are_cores_taken(self, clock: float) -> bool:
        return sum(host.computes(clock) for host in self._hosts) >= self._cores

    def _is_fast(self, program: Program) -> bool:
        return (self._pace.of(program) or inf) < _COMPUTING_SECONDS

    def _tables_of(self, lane: Lane, clock: float) -> tuple[GivenTable, ...] | None:
        """Return the tables that calls of the lane are to see now, None while they are made.

        Hosts with earlier ones end after the calls that they have.
        """
        tables = self._services.tables(lane.program)
        if tables is None:
            self._release_idle_hosts(lane, clock)
            self._next_look = min(self._next_look, clock + _TABLE_LOOK_SECONDS)
            return None
        if any(host.tables != tables for host in lane.hosts):
            self._release_idle_hosts(lane, clock)
        return tables

    def _pace_of(self, lane: Lane, clock: float) -> float | None:
        """Return the seconds a call takes: measured, or at least the first one's age."""
        pace = self._pace.of(lane.program)
        if pace is not None:
            return pace
        ages = [clock - host.progress_at for host in lane.hosts if host.is_stuck(clock)]
        return max(ages, default=None)

    def _top_up(self, host: HostClient, lane: Lane, target: int, clock: float) -> None:
        while lane.waiting and host.has_room(target, clock):
            group = lane.next_group(target - host.in_flight, first=host.sent + 1)
            try:
                host.send(group)
            except OSError:
                self._hosts.kill(host)

    def _release_idle_hosts(self, lane: Lane, clock: float) -> None:
        for host in [host for host in lane.hosts if not host.in_flight and not host.is_terminating]:
            if host.is_worn_out:
                self._hosts.kill(host)
                continue
            lane.hosts.remove(host)
            self._hosts.release(host, clock)
        if not lane.hosts and not lane.waiting:
            self._lanes.pop((lane.program, lane.site), None)

    # Listening to hosts

    def _serve(self, host: HostClient, events: int) -> None:
        if host not in self._hosts:
            return
        if events & selectors.EVENT_WRITE:
            try:
                host.send_rest()
            except OSError:
                self._hosts.kill(host)
        if events & selectors.EVENT_READ and not self._read(host):
            # The channel is closed: the host has ended, or its script has closed it.
            host.stop_listening()
            self._hosts.kill(host)

    def _read(self, host: HostClient) -> bool:
        """Read what a host has answered; False at the end of it all."""
        chunk = host.read()
        if chunk:
            self._take_answers(host, host.answers(host.without_trace(chunk)))
            if host.is_asked:
                self._end_asked(host, time.monotonic())
        return chunk != b""

    def _take_answers(self, host: HostClient, answers: Iterator[Answer]) -> None:
        """Make outcomes of answers, up to the first one that breaks the protocol."""
        if host.broke_protocol:
            return
        finished: list[Outcome] = []
        returned: list[Call] = []
        epoch = time.time()
        try:
            for answer in answers:
                number, kind, output, extra, _, _ = answer
                if kind == wire.READY:
                    self._on_host_ready(host, extra)
                    continue
                group = host.group_of_next(number)
                if kind == wire.REQUEST:
                    self._take_request(host, number, output, extra)
                    continue
                if kind != wire.RETURNED:
                    clean = self._services.clean(host, number)
                    outcome = outcome_of(answer, group, epoch, clean)
                    if self._keeps_progress:
                        outcome.progress = self._progress_of(host, number)
                    finished.append(outcome)
                    host.is_worn_out |= isinstance(outcome.error, ScriptOutOfMemory)
                    if outcome.state:
                        self._services.note_state(group.site, outcome.state)
                    self._is_group_done |= group.done + 1 == group.kept
                elif group.done < group.kept:
                    returned.append(self._returned(host, number, group.calls[group.done]))
                host.cross_off_next()
        except ProtocolError:
            host.broke_protocol = True
        self._note_progress(host, finished, returned)
        if host.broke_protocol:
            self._kill_for(host, ScriptKilled("protocol: the host's answer made no sense"))

    def _returned(self, host: HostClient, number: int, call: Call) -> Call:
        """Return a call that its host has not begun. Raises ProtocolError where it cannot be so.

        A script could forge it, and go on for ever while its message comes again and again.
        """
        if number > host.recalled or self._attribution.has_come_back_too_often(call):
            raise ProtocolError
        return call

    def _on_host_ready(self, host: HostClient, extra: bytes) -> None:
        if host.is_ready:
            raise ProtocolError
        host.is_ready = True
        host.progress_at = time.monotonic()
        host.missing_measures = list(orjson.loads(extra))
        missing = set(host.missing_measures) - self.missing_measures
        if missing:
            names = ", ".join(missing)
            logger.warning("the sandbox of scripts is incomplete, missing: %s", names)
            self.missing_measures |= missing

    def _note_progress(
        self, host: HostClient, finished: list[Outcome], returned: list[Call]
    ) -> None:
        if host.lane is not None:
            host.lane.requeue_alone(returned)
            self._ready_lanes[host.lane] = None
        if not finished:
            return
        host.progress_at = time.monotonic()
        spent = sum([outcome.finished_at - outcome.started_at for outcome in finished])
        self._pace.learn(host.program, spent / len(finished), len(finished))
        self._report(finished, host.lane)

    def _report(self, outcomes: list[Outcome], lane: Lane | None = None) -> None:
        self._reporting.add(lane)
        if not self._outcomes:
            self._first_outcome_at = time.monotonic()
        self._outcomes += outcomes
        self._unfinished -= len(outcomes)
        self._attribution.forget([outcome.call for outcome in outcomes])

    # Requests of running scripts, and calls that need no host

    def _take_request(self, host: HostClient, call: int, head: bytes, content: bytes) -> None:
        if not host.runs(call):
            return
        if self._requests is None:
            self._requests = RequestDispatcher(self._services.by_name(), self._request_threads)
            pass_on = partial(self._pass_on_replies, self._requests)
            for threads in self._requests.thread_pools:
                self._selector.register(threads, selectors.EVENT_READ, pass_on)
        self._requests.take(host, call, head, content)

    def _pass_on_replies(self, requests: RequestDispatcher, events: int) -> None:
        for request in requests.served():
            if request.secret:
                request.host.keep_secret(request.call, request.secret)
            try:
                request.host.reply(request.call, request.number, request.reply)
            except OSError:
                self._hosts.kill(request.host)

    def _open_callables(self, source_type: type[OutcomeSource]) -> OutcomeSource:
        if self._callables is None:
            self._callables = source_type()
            take = partial(self._take_outcomes, self._callables)
            self._selector.register(self._callables, selectors.EVENT_READ, take)
        return self._callables

    def _take_outcomes(self, source: OutcomeSource, events: int) -> None:
        finished = source.finished()
        for program, outcome in finished:
            self._pace.learn(program, outcome.finished_at - outcome.started_at, 1)
        if finished:
            self._report([outcome for _, outcome in finished])

    # Watching hosts

    def _look(self, clock: float) -> None:
        """End hosts that are over a limit; take calls away from those that are stuck."""
        self._next_look = clock + LOOK_SECONDS
        for host in self._hosts:
            if host.is_terminating:
                self._end_asked(host, clock)
            elif not host.in_flight:
                self._hosts.end_if_idle_for_long(host, clock, self._is_fast(host.program))
            elif host.is_overdue(clock):
                self._ask_and_kill(host, clock)
            else:
                self._next_look = min(self._next_look, host.next_look(clock))
                if host.is_stuck(clock) and host.in_flight > 1:
                    self._reclaim_waiting_calls(host, clock)
        for lane in self._lanes.values():
            if lane.waiting:
                self._ready_lanes[lane] = None

    def _ask_and_kill(self, host: HostClient, clock: float) -> None:
        """Ask a host that is over its time limit where it is, and kill it then."""
        reason = overdue_error(host)
        if not host.page.running or not host.is_ready:
            self._kill_for(host, reason)
            return
        host.note_kill_reason(reason)
        host.begin_asking(clock)
        self._hosts.ask(host)
        self._next_look = min(self._next_look, host.kill_at)

    def _end_asked(self, host: HostClient, clock: float) -> None:
        """Kill a host that was asked where it is: it has told, or does not tell."""
        if host.kill_at == inf:
            return
        if host.has_told or clock >= host.kill_at:
            host.kill_at = inf
            self._hosts.kill(host)
        else:
            self._next_look = min(self._next_look, host.kill_at)

    def _reclaim_waiting_calls(self, host: HostClient, clock: float) -> None:
        """Take the answers before a host's slow call and the calls that wait behind it."""
        self._take_answers(host, host.unsent_answers())
        host.mark_reclaimed()
        if host.is_terminating or not host.has_unbegun_calls():
            return
        _, first = next(host.unanswered())
        # On a busy machine, a host may be kept from beginning its first call again and again. The
        # call comes back each time, as if the host had forged it.
        if self._attribution.may_come_back(first) or host.has_begun_next(clock):
            # The first call stays, so that its time limit goes on whatever the page shows.
            self._take_back(host, keep=1)

    def _take_back(self, host: HostClient, keep: int) -> None:
        if host.lane is not None:
            host.lane.requeue(host.recall(keep))
            self._ready_lanes[host.lane] = None

    def _kill_if_running(self, host: HostClient, keys: set[Any]) -> None:
        if not host.in_flight:
            # It shows that it has begun nothing, which a script may have forged.
            self._hosts.kill(host)
        running = dict(host.unanswered()).get(host.page.running)
        if running is not None and running.key in keys:
            self._kill_for(host, ScriptKilled("cancelled"))

    def _kill_for(self, host: HostClient, reason: ScriptError) -> None:
        """Kill a host for what its running call does."""
        host.note_kill_reason(reason)
        self._hosts.kill(host)

    # The end of hosts

    def _on_zygote_event(self, events: int) -> None:
        for host, status, peak_bytes in self._hosts.ended():
            self.peak_bytes = max(self.peak_bytes, peak_bytes)
            self._on_host_exit(host, status, peak_bytes)

    def _on_host_exit(self, host: HostClient, status: int | None, peak_bytes: int) -> None:
        """Report the call that an ended host leaves unfinished; run the others again."""
        host.is_terminating = True
        self._read_the_rest(host)
        self._forget(host)
        lost = dict(host.unanswered())
        number = self._attribution.failed_call(host, status)
        if number is not None:
            error = host.kill_reason or exit_error(host, status, peak_bytes)
            if host.lane is not None:
                self.restarts[host.lane.site, restart_reason(error)] += 1
            error = located(error, host.program, host.trace, self._services.clean(host, number))
            self._attribute(host, number, lost.pop(number), error)
        self._run_again(host, list(lost.values()))

    def _read_the_rest(self, host: HostClient) -> None:
        while host.has_more() and self._read(host):
            pass
        self._take_answers(host, host.unsent_answers(is_dead=True))

    def _forget(self, host: HostClient) -> None:
        self._hosts.forget(host)
        if self._requests is not None:
            self._requests.forget(host)
        if host.lane is not None:
            host.lane.hosts.remove(host)

    def _log_of(self, host: HostClient, number: int) -> list[dict[str, Any]]:
        """Return what a call without an answer has said."""
        clean = self._services.clean(host, number)
        return [log_line(line, clean) for line in host.page.log_of(number)]

    def _progress_of(self, host: HostClient, number: int) -> dict[str, Any] | None:
        """Return how far a call has said that it is."""
        told = host.page.progress_of(number)
        return told and told.document(self._services.clean(host, number))

    def _attribute(self, host: HostClient, number: int, call: Call, error: ScriptError) -> None:
        """Report the error as the outcome of a call that its host has left unfinished."""
        epoch, logs = time.time(), self._log_of(host, number)
        began_at = epoch_of(host.running_since(number)) or epoch
        outcome = Outcome(call, None, error, None, logs, began_at, epoch)
        outcome.progress = self._progress_of(host, number)
        self._report([outcome])
        self._is_group_done = True

    def _run_again(self, host: HostClient, calls: list[Call]) -> None:
        if host.lane is None:
            return
        for call in calls:
            # What they have started counts no more, also if they start nothing the next time.
            call.starts = {}
        if host.broke_protocol:
            host.lane.requeue_alone(calls)
        else:
            host.lane.requeue(calls)
        self._ready_lanes[host.lane] = None

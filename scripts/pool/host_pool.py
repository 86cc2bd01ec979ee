"""Runs scripts in script hosts and says what became of each call: the HostPool of a worker.

It feeds hosts with groups of calls, about 20 ms of work at a time, so that the pipe costs little
where scripts are fast and every host has one call where they are slow. It watches them: a host that
runs over a time limit is killed, the call that did it gets the error, and the others of its group
run again elsewhere.

The way of a call, here unless another file is named:

    submit              puts it into its step's lane, where it waits             lane.py
    _feed               takes it off with others, as a group, for a host         group.py
    host.send           writes the group into the host's pipe                    host_client.py
                        the host runs it, between the worker and it is           host.py, wire.py
    _read               finds its answer in the pipe                             answers.py
    _take_answers       checks the answer and makes an outcome of it
    _pass_on_replies    meanwhile gives its host what the call has asked for     requests.py
    collect             hands the outcome out

And of one that goes wrong:

    _look               a host with a slow call has the calls behind it taken away, one over
                        its time limit is killed by the zygote                   zygote_client.py
    _bury               the call that a host died of is charged, the others
                        go back into their lane                                  attribution.py
"""

import logging
import os
import selectors
import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import orjson

from scripts.callables.threads import CallableThreads
from scripts.host.sandbox import SCRIPT_UIDS
from scripts.pool.answers import Answer, Clean, outcome_of
from scripts.pool.attribution import Blame, death, overdue
from scripts.pool.host_client import LOOK_SECONDS, STUCK_SECONDS, HostClient
from scripts.pool.lane import Lane
from scripts.pool.mask import mask_of
from scripts.pool.pace import Pace, calls_ahead
from scripts.pool.requests import Ask, Asks
from scripts.pool.thread_pool import Crew
from scripts.pool.zygote_client import ZygoteClient
from scripts.protocol import wire
from scripts.protocol.calls import Call, CallSite, Library, Outcome, Program
from scripts.protocol.envelope import plain_text
from scripts.protocol.errors import ScriptError, ScriptKilled
from scripts.protocol.services import SECRET_SERVICE, Service
from scripts.protocol.wire import ProtocolError

__all__ = ["Call", "CallSite", "HostPool", "Library", "Outcome", "Program"]

logger = logging.getLogger(__name__)

# How long outcomes may wait for more of them to be reported together.
REPORT_SECONDS = 0.005
IDLE_SECONDS = 60.0
# With more hosts than this, idle ones are not kept warm for long.
MAX_HOSTS = 64
IDLE_SECONDS_IN_A_CROWD = 1.0


class HostPool:
    """The hosts of one worker process, kept warm between uses.

    Belongs to the thread that made it: its processes end with that thread. Time limits are watched
    in ``collect``, which therefore is to be called often. What goes wrong with a script is on its
    outcome; no method raises it. ``missing_measures`` names what of the seal this system lacks, as
    far as hosts have told; ``peak_bytes`` is the most that any host that has ended has taken beyond
    what each begins with.
    """

    def __init__(
        self,
        uids: tuple[int, int] = SCRIPT_UIDS,
        services: Mapping[str, Service] | None = None,
        callables: bool = False,
        unsealed: bool = False,
        crew: type[Crew[Ask]] = Crew,
    ) -> None:
        """Start nothing yet. Under root, scripts will run as these users (see ``seal``).

        ``services`` are what scripts may ask for while they run, by name, if not the engine's own.
        With ``callables`` it runs these, too, in threads of this process. ``unsealed``: scripts run
        although their processes cannot be sealed here. ``crew``: what serves the asks of scripts.
        """
        self.missing_measures: set[str] = set()
        self.peak_bytes = 0
        self._uids = uids if os.geteuid() == 0 else None
        self._selector = selectors.DefaultSelector()
        self._unsealed = unsealed
        self._crew = crew
        self._zygote: ZygoteClient | None = None
        self._services = services
        self._asks: Asks | None = None
        self._secrets: Any = None
        self._runs_callables = callables
        self._threads: CallableThreads | None = None
        self._numbers = count(1)
        self._hosts: dict[int, HostClient] = {}
        self._idle: dict[Program, list[HostClient]] = {}
        self._lanes: dict[tuple[Program, CallSite], Lane] = {}
        # The lanes to look at: they have got calls, or their hosts have got room.
        self._hungry: dict[Lane, None] = {}
        self._pace = Pace()
        self._blame = Blame()
        self._outcomes: list[Outcome] = []
        self._first_outcome_at = 0.0
        self._is_group_done = False
        self._unfinished = 0
        self._next_look = 0.0

    def submit(self, program: Program, site: CallSite, calls: list[Call], hosts: int) -> None:
        """Run calls on at most ``hosts`` hosts at once for this step, and at least on one.

        Returns at once; ``collect`` gives the outcomes, in any order. The limit replaces that of an
        earlier submit for the step. Raises OSError if the system lets no host be made.
        """
        if not calls:
            return
        if self._runs_callables and program.is_callable:
            self._submit_callables(program, site, calls, hosts)
            return
        lane = self._lanes.get((program, site))
        if lane is None:
            lane = self._lanes[program, site] = Lane(program, site)
        lane.limit = max(1, hosts)
        lane.waiting.extend(calls)
        self._unfinished += len(calls)
        self._feed(lane, time.monotonic())

    def _submit_callables(
        self, program: Program, site: CallSite, calls: list[Call], threads: int
    ) -> None:
        if self._threads is None:
            self._threads = CallableThreads()
            self._selector.register(self._threads.bell, selectors.EVENT_READ, self._threads)
        self._unfinished += len(calls)
        self._threads.submit(program, site, calls, threads)

    def collect(self, timeout: float) -> list[Outcome]:
        """Wait at most ``timeout`` seconds for outcomes that are worth reporting.

        Returns at once when a group is through or nothing is left to wait for, else 5 ms after the
        first outcome, and with an empty list after the timeout.
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
        """Return the smoothed run time of a program in seconds, None before its first call."""
        return self._pace.of(program)

    def learn_pace(self, program: Program, seconds: float) -> None:
        """Take in how long a call took that was made elsewhere."""
        self._pace.learn(program, seconds, 1)

    def cancel(self, keys: set[Any]) -> list[Call]:
        """Withdraw and return the calls with these keys that were not begun; kill those that run.

        The killed ones come as outcomes with ScriptKilled. Unknown keys are ignored.
        """
        for host in list(self._hosts.values()):
            if any(call.key in keys for _, call in host.unanswered()):
                self._take_back(host, keep=0)
                self._condemn_if_running(host, keys)
        withdrawn = [call for lane in self._lanes.values() for call in lane.withdraw(keys)]
        if self._threads is not None:
            withdrawn += self._threads.cancel(keys)
        self._unfinished -= len(withdrawn)
        self._blame.forget(withdrawn)
        return withdrawn

    def rest(self) -> None:
        """Say that this pool may not be asked for a while.

        Hosts that have nothing to do are watched until they are used again: one whose script goes
        on computing behind its answer is killed, whether the pool is asked or not.
        """
        for hosts in self._idle.values():
            for host in hosts:
                self._watch(host)

    def end_idle_hosts(self) -> None:
        """End the hosts that have nothing to do and wait for that, 1 s at most."""
        idle = [host for hosts in self._idle.values() for host in hosts]
        for host in idle:
            self._doom(host)
        deadline = time.monotonic() + 1.0
        while any(host.number in self._hosts for host in idle) and time.monotonic() < deadline:
            self._pump(0.1)

    def close(self) -> None:
        """Kill everything, in 2 s at most. Calls that were outstanding are forgotten.

        The pool can be used again.
        """
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None
        if self._asks is not None:
            self._asks.close()
            self._asks = None
        if self._threads is not None:
            self._threads.close()
            self._threads = None
        for host in self._hosts.values():
            host.close()
        self._selector.close()
        self._selector = selectors.DefaultSelector()
        for memory in (self._hosts, self._idle, self._lanes, self._hungry, self._blame):
            memory.clear()
        self._outcomes.clear()
        self._unfinished = 0

    def _pump(self, timeout: float) -> None:
        """Move what can be moved, watch the hosts, and hand out waiting calls."""
        for key, events in self._selector.select(timeout):
            host = key.data
            if host is None:
                self._read_deaths()
            elif host is self._asks:
                self._pass_on_replies()
            elif host is self._threads:
                self._take_callables_outcomes()
            elif host.number in self._hosts:
                self._serve(host, events)
        now = time.monotonic()
        if now >= self._next_look:
            self._look(now)
        while self._hungry:
            self._feed(self._hungry.popitem()[0], now)

    # Handing out calls

    def _feed(self, lane: Lane, now: float) -> None:
        """Give waiting calls to the lane's busy hosts, and to more of them if those are full."""
        pace = self._pace_of(lane, now)
        target = calls_ahead(pace)
        for host in lane.hosts:
            self._top_up(host, lane, target, now)
        while lane.waiting and len(lane.hosts) < lane.limit:
            if not all(host.is_full(pace, now) for host in lane.hosts):
                break
            host = self._take_host(lane)
            self._top_up(host, lane, target, now)
        self._release_idle_hosts(lane, now)
        self._next_look = min(self._next_look, now + STUCK_SECONDS)

    def _pace_of(self, lane: Lane, now: float) -> float | None:
        """Return the seconds a call takes, as far as known: the first one's age tells, too."""
        pace = self._pace.of(lane.program)
        if pace is not None:
            return pace
        ages = [now - host.progress_at for host in lane.hosts if host.is_stuck(now)]
        return max(ages, default=None)

    def _top_up(self, host: HostClient, lane: Lane, target: int, now: float) -> None:
        while lane.waiting and host.has_room(target, now):
            group = lane.next_group(target - host.in_flight, first=host.sent + 1)
            try:
                host.send(group)
            except OSError:
                self._doom(host)

    def _take_host(self, lane: Lane) -> HostClient:
        idle = self._idle.get(lane.program)
        host = idle.pop() if idle else self._new_host(lane.program)
        if host.is_watched and self._zygote is not None:
            self._zygote.stop_watching(host)
            host.is_watched = False
        host.lane = lane
        lane.hosts.append(host)
        return host

    def _new_host(self, program: Program) -> HostClient:
        if self._zygote is None:
            self._zygote = ZygoteClient(self._uids, self._unsealed)
            self._selector.register(self._zygote.control, selectors.EVENT_READ, None)
        host = HostClient(next(self._numbers), program, self._selector)
        self._hosts[host.number] = host
        self._zygote.fork(host)
        try:
            host.introduce()
        except OSError:
            self._doom(host)
        return host

    def _release_idle_hosts(self, lane: Lane, now: float) -> None:
        for host in [host for host in lane.hosts if not host.in_flight and not host.is_doomed]:
            lane.hosts.remove(host)
            host.lane = None
            host.progress_at = now
            self._idle.setdefault(lane.program, []).append(host)
        if not lane.hosts and not lane.waiting:
            self._lanes.pop((lane.program, lane.site), None)

    # Listening to hosts

    def _serve(self, host: HostClient, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            try:
                host.send_rest()
            except OSError:
                self._doom(host)
        if events & selectors.EVENT_READ and not self._read(host):
            # Closed: a host does that by ending, and a script by trying.
            host.stop_listening()
            self._doom(host)

    def _read(self, host: HostClient) -> bool:
        """Read what a host has answered; False at the end of it all."""
        chunk = host.read()
        if chunk:
            self._take_answers(host, host.answers(chunk))
        return chunk != b""

    def _take_answers(self, host: HostClient, answers: Iterator[Answer]) -> None:
        """Make outcomes of answers, up to the first one that makes no sense."""
        if host.talks_nonsense:
            return
        finished: list[Outcome] = []
        returned: list[Call] = []
        now = time.time()
        try:
            for answer in answers:
                number, kind, output, extra, _, _ = answer
                if kind == wire.HELLO:
                    self._welcome(host, extra)
                    continue
                group = host.group_of_next(number)
                if kind == wire.ASK:
                    self._take_ask(host, number, output, extra)
                    continue
                if kind != wire.RETURNED:
                    finished.append(outcome_of(answer, group, now, self._clean(host, number)))
                    self._is_group_done |= group.done + 1 == group.kept
                elif group.done < group.kept:
                    returned.append(self._returned(host, number, group.calls[group.done]))
                host.cross_off_next()
        except ProtocolError:
            host.talks_nonsense = True
        self._note_progress(host, finished, returned)
        if host.talks_nonsense:
            self._condemn(host, ScriptKilled("protocol: the host's answer made no sense"))

    def _returned(self, host: HostClient, number: int, call: Call) -> Call:
        """Return a call that its host has not begun. Raises ProtocolError where it cannot be so.

        A script could forge it, and go on for ever while its message comes again and again.
        """
        if number > host.recalled or self._blame.has_come_back_too_often(call):
            raise ProtocolError
        return call

    def _clean(self, host: HostClient, call: int) -> Clean:
        """Return what takes secrets out of the texts of a call.

        It knows every secret that the script may read, asked for or not, so that a text is told in
        the same way by a new host and by one that has served others.
        """
        if not host.program.secrets:
            return plain_text

        def clean(text: str, length: int) -> str:
            values = (*self._readable_secrets(host.program), *host.secrets_of(call))
            return mask_of(tuple(dict.fromkeys(values))).clean(text, length)

        return clean

    def _readable_secrets(self, program: Program) -> tuple[str, ...]:
        if self._secrets is None:
            services = _engine_services() if self._services is None else self._services
            self._secrets = services.get(SECRET_SERVICE)
        values = getattr(self._secrets, "values", None)
        return () if values is None else values(program)

    def _welcome(self, host: HostClient, extra: bytes) -> None:
        if host.is_greeted:
            raise ProtocolError
        host.is_greeted = True
        host.progress_at = time.monotonic()
        host.missing_measures = list(orjson.loads(extra))
        missing = set(host.missing_measures) - self.missing_measures
        if missing:
            logger.warning("scripts are sealed incompletely, missing: %s", ", ".join(missing))
            self.missing_measures |= missing

    def _take_ask(self, host: HostClient, call: int, head: bytes, request: bytes) -> None:
        if not host.runs(call):
            return
        if self._asks is None:
            services = _engine_services() if self._services is None else self._services
            self._asks = Asks(services, self._crew)
            for bell in self._asks.bells:
                self._selector.register(bell, selectors.EVENT_READ, self._asks)
        self._asks.take(host, call, head, request)

    def _pass_on_replies(self) -> None:
        for ask in self._asks.served() if self._asks is not None else ():
            if ask.secret:
                ask.host.keep_secret(ask.call, ask.secret)
            try:
                ask.host.reply(ask.call, ask.number, ask.reply)
            except OSError:
                self._doom(ask.host)

    def _take_callables_outcomes(self) -> None:
        finished = self._threads.finished() if self._threads is not None else []
        for program, outcome in finished:
            self._pace.learn(program, outcome.finished_at - outcome.started_at, 1)
        if finished:
            self._report([outcome for _, outcome in finished])

    def _note_progress(
        self, host: HostClient, finished: list[Outcome], returned: list[Call]
    ) -> None:
        if host.lane is not None:
            host.lane.put_back_alone(returned)
            self._hungry[host.lane] = None
        if not finished:
            return
        host.progress_at = time.monotonic()
        spent = sum([outcome.finished_at - outcome.started_at for outcome in finished])
        self._pace.learn(host.program, spent / len(finished), len(finished))
        self._report(finished)

    def _report(self, outcomes: list[Outcome]) -> None:
        if not self._outcomes:
            self._first_outcome_at = time.monotonic()
        self._outcomes += outcomes
        self._unfinished -= len(outcomes)
        self._blame.forget([outcome.call for outcome in outcomes])

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
                self._condemn(host, overdue(host))
            else:
                self._next_look = min(self._next_look, host.next_look(now))
                if host.is_stuck(now) and host.in_flight > 1:
                    self._relieve(host)
        for lane in self._lanes.values():
            if lane.waiting:
                self._hungry[lane] = None

    def _relieve(self, host: HostClient) -> None:
        """Take from a host with a slow call what is done before it and what waits behind it."""
        self._take_answers(host, host.unsent_answers())
        host.mark_relieved()
        if not host.is_doomed and host.has_unbegun_calls():
            # One stays, so that its time limit goes on whatever the page tells.
            self._take_back(host, keep=1)

    def _take_back(self, host: HostClient, keep: int) -> None:
        if host.lane is not None:
            host.lane.put_back(host.recall(keep))
            self._hungry[host.lane] = None

    def _end_if_idle_for_long(self, host: HostClient, now: float) -> None:
        idle = self._idle.get(host.program, [])
        if host not in idle:
            return
        self._watch(host)
        patience = IDLE_SECONDS if len(self._hosts) <= MAX_HOSTS else IDLE_SECONDS_IN_A_CROWD
        if now - host.progress_at > patience:
            idle.remove(host)
            self._doom(host)

    def _watch(self, host: HostClient) -> None:
        if not host.is_watched and self._zygote is not None:
            self._zygote.watch(host)
            host.is_watched = True

    def _condemn_if_running(self, host: HostClient, keys: set[Any]) -> None:
        if not host.in_flight:
            # It claims to have begun nothing, which may be forged.
            self._doom(host)
        running = dict(host.unanswered()).get(host.page.running)
        if running is not None and running.key in keys:
            self._condemn(host, ScriptKilled("cancelled"))

    def _condemn(self, host: HostClient, error: ScriptError) -> None:
        """Kill a host for what its running call does."""
        host.condemn(error)
        self._doom(host)

    def _doom(self, host: HostClient) -> None:
        host.is_doomed = True
        if self._zygote is not None:
            self._zygote.kill(host)

    # Burying hosts

    def _read_deaths(self) -> None:
        deaths = self._zygote.deaths() if self._zygote is not None else None
        if deaths is None:
            self._lose_zygote()
            return
        for number, status, peak_bytes in deaths:
            self.peak_bytes = max(self.peak_bytes, peak_bytes)
            if number in self._hosts:
                self._bury(self._hosts[number], status, peak_bytes)

    def _lose_zygote(self) -> None:
        """Go on without a zygote that somebody killed: its hosts died with it."""
        if self._zygote is not None:
            self._selector.unregister(self._zygote.control)
            self._zygote.close()
            self._zygote = None
        for host in list(self._hosts.values()):
            self._bury(host, None, 0)

    def _bury(self, host: HostClient, status: int | None, peak_bytes: int) -> None:
        """Report the call that a dead host leaves behind unfinished; run the others again."""
        host.is_doomed = True
        self._read_the_rest(host)
        self._forget(host)
        lost = dict(host.unanswered())
        guilty = self._blame.guilty_number(host, status)
        if guilty is not None:
            error = host.sentence or death(host, status, peak_bytes)
            self._charge(lost.pop(guilty), error, host.running_since(guilty))
        self._run_again(host, list(lost.values()))

    def _read_the_rest(self, host: HostClient) -> None:
        while host.has_more() and self._read(host):
            pass
        self._take_answers(host, host.unsent_answers(is_dead=True))

    def _forget(self, host: HostClient) -> None:
        del self._hosts[host.number]
        host.close()
        if self._asks is not None:
            self._asks.forget(host)
        if host.lane is not None:
            host.lane.hosts.remove(host)
        idle = self._idle.get(host.program, [])
        if host in idle:
            idle.remove(host)
        if not idle:
            self._idle.pop(host.program, None)

    def _charge(self, call: Call, error: ScriptError, began_at: float) -> None:
        now, clock = time.time(), time.monotonic()
        started_at = now - (clock - began_at) if 0 < began_at <= clock else now
        self._report([Outcome(call, None, error, None, [], started_at, now)])
        self._is_group_done = True

    def _run_again(self, host: HostClient, calls: list[Call]) -> None:
        if host.lane is None:
            return
        if host.talks_nonsense:
            host.lane.put_back_alone(calls)
        else:
            host.lane.put_back(calls)
        self._hungry[host.lane] = None


def _engine_services() -> Mapping[str, Service]:
    # They read the database; a pool does without.
    from scripts.services.engine import engine_services

    return engine_services()

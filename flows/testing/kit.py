from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Unpack
from unittest.mock import patch
from uuid import UUID

from django.db import connection
from django.db.models import Min

from flows import public
from flows.configuration import import_configuration, read_directory, read_document
from flows.engine import Payload
from flows.errors import UnknownFlow
from flows.models import Flow, FlowState, Message, Run
from flows.options import BatchOptions, StartOptions, can_be_a_name
from flows.store import HeldMessage, Ready, store
from flows.store.database import Database
from flows.tasks.deadlines import cancel_overdue
from flows.tasks.flow_schedules import start_due
from flows.testing.arguments import (
    as_duration,
    check_flag,
    check_function,
    check_json,
    check_number,
    check_options,
    check_type,
    listed,
)
from flows.testing.clock import Clock, SteadyTime
from flows.testing.outside import OutsideCalls
from flows.testing.pool import KitPool, pool
from flows.testing.run import FlowRun
from flows.testing.secret_values import SecretValues
from flows.testing.session import work_on
from flows.testing.tables import store_table
from flows.testing.transactions import count_starts_at_once
from flows.worker import queue_rules, session
from flows.worker.broker import servable
from flows.worker.results import waited
from scripts.callables import service_client, tables
from scripts.callables.watchdog import watchdog
from scripts.models import secret_values
from scripts.pool import answers, group, host_client, host_pool, requests
from scripts.services.flow_states import pending_states

Source = Mapping[str, Any] | list[Any] | Path | str

# A flow that starts itself again and again never ends.
MOST_SESSIONS = 10_000
# A rate limit counts a start until the time at which it allows the next one, inclusive.
INSTANT = timedelta(milliseconds=1)
# The modules that compare times with script hosts.
TIMED = (answers, group, host_client, host_pool, requests, session)


def configure(source: Source, *, prune: bool = False) -> None:
    """Import a configuration: a document, the file of one, or its directory.

    It does what `manage.py config import` does, within the current transaction. Raises
    ConfigurationInvalid, FileNotFoundError, and TypeError and ValueError if it is no document.
    """
    check_flag("prune", prune)
    document = _document(source)
    # Another process examines the scripts, and its time is not that of the test.
    with ExitStack() as stack:
        for module in TIMED:
            stack.enter_context(patch.object(module, "time", SteadyTime()))
        import_configuration(document, prune=prune)


def _document(source: Source) -> Any:
    check_type("source", source, (Mapping, list, str, Path), "a document, or the path of one")
    if not isinstance(source, str | Path):
        check_json("source", source)
        # A copy: an import may change the document, and the test may use it again.
        return json.loads(json.dumps(source))
    # The path "" would be the directory that the tests run in.
    if not source or not os.path.exists(source):  # noqa: PTH110 - False for what cannot be a path
        raise FileNotFoundError(
            f"There is no configuration at {os.fspath(source)!r}, seen from {os.getcwd()}."  # noqa: PTH109
            " Give a document, the path of one, or that of its directory."
        )
    path = Path(source)
    return read_directory(path) if path.is_dir() else read_document(path.read_bytes())


def _check_payloads(payloads: Any) -> None:
    if isinstance(payloads, Mapping | str | bytes) or not isinstance(payloads, Iterable):
        raise TypeError(f"payloads must be a list of payloads, not {payloads!r}.")


def _unknown(flow: object) -> UnknownFlow:
    names = Flow.objects.order_by("name").values_list("name", flat=True)
    return UnknownFlow(f"There is no flow {flow!r}; the flows are: {listed(names)}.")


@contextmanager
def _naming_flows(flow: str) -> Iterator[None]:
    """Add the names of all flows to the error of an unknown one."""
    try:
        yield
    except UnknownFlow:
        raise _unknown(flow) from None


class FlowKit:
    """Runs flows in the thread of a test, within its transaction if it has one.

    Use it as a context manager, from `with FlowKit() as kit` to the end of the test.
    `FlowTestMixin` and the fixture `flow_kit` do so.

    Scripts run in real script hosts, which stay warm for later tests. With `in_process` they run in
    the process of the test, without the sandbox and without limits on time and memory. That is
    faster if each test has new scripts, and works where the sandbox is incomplete. Callables always
    run in the test's thread, on its connection, without a time limit.

    `outside` has the stubs of outside calls. `secrets` has secrets by name; all others are read
    from the database.

    Wrong arguments raise TypeError or ValueError at once. A kit outside of its `with` block raises
    RuntimeError.
    """

    def __init__(self, *, in_process: bool = False) -> None:
        check_flag("in_process", in_process)
        self.outside = OutsideCalls()
        self._secrets = SecretValues()
        self._is_open = self._has_worked = False
        self._in_process = in_process
        self._clock = Clock()
        self._served: dict[int, int] = {}
        self._sessions = 0
        self._replaced = ExitStack()

    def __enter__(self) -> FlowKit:
        if self._is_open:
            raise RuntimeError("This kit is in use already: there is one `with` block for it.")
        with ExitStack() as stack:
            self._replace(stack)
            count_starts_at_once()
            self._replaced = stack.pop_all()
        self._is_open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_open = False
        self._replaced.close()
        self.outside.close()

    @property
    def secrets(self) -> MutableMapping[str, str]:
        return self._secrets

    @secrets.setter
    def secrets(self, values: Mapping[str, str]) -> None:
        check_type("secrets", values, Mapping, "a mapping of strings")
        self._secrets = SecretValues(values)

    # --- before a run ------------------------------------------------------------------------

    def configure(self, source: Source, *, prune: bool = False) -> None:
        """Import a configuration: a document, the file of one, or its directory.

        With `prune`, rows that the document does not name are deleted. Raises
        ConfigurationInvalid.
        """
        configure(source, prune=prune)

    def table(self, name: str, content: str | Path | Mapping[str, Any], key: str = "") -> None:
        """Store a reference table: the text of a CSV file, the path of a file, or rows by key.

        Raises ValueError, with the line, where it is no table.
        """
        store_table(name, content, key)

    def now(self) -> datetime:
        """Return the engine's time."""
        return self._clock.now()

    def advance(self, duration: timedelta | float) -> None:
        """Move the engine's time on. A number is seconds."""
        duration = as_duration("duration", duration)
        if duration < timedelta(0):
            raise ValueError("Time moves on, not back.")
        try:
            self.now() + duration
        except OverflowError:
            raise ValueError(f"duration is longer than time goes on: {duration!r}.") from None
        self._clock.advance(duration)

    # --- runs --------------------------------------------------------------------------------

    def start(self, flow: str, payload: Payload, **options: Unpack[StartOptions]) -> FlowRun:
        """Start a run and leave it in its queue. Options and errors are those of `public.start`."""
        check_options(options, StartOptions)
        self._require_open()
        with _naming_flows(flow):
            return FlowRun(self, public.start(flow, payload, **options))

    def start_many(
        self, flow: str, payloads: Iterable[Payload], **options: Unpack[BatchOptions]
    ) -> list[FlowRun]:
        """Start a run for each payload, all of them or none. Raises as `public.start_many` does."""
        check_options(options, BatchOptions)
        _check_payloads(payloads)
        self._require_open()
        with _naming_flows(flow):
            ids = public.start_many(flow, payloads, **options)
        return [FlowRun(self, id) for id in ids]

    def run(self, flow: str, payload: Payload, **options: Unpack[StartOptions]) -> FlowRun:
        """Start a run and work until it has ended, completed or not."""
        __tracebackhide__ = True
        return self.start(flow, payload, **options).finish()

    def find(self, run: UUID | str) -> FlowRun:
        """Return a run that other code has started, for example a view. Raises NotFound."""
        check_type("run", run, (UUID, str), "the id of a run")
        public.status(run)
        return FlowRun(self, UUID(str(run)))

    def state(self, flow: str) -> dict[str, Any]:
        """Return what the runs of a flow have left by `context.state`. Raises UnknownFlow."""
        found = Flow.objects.filter(name=flow).first()
        if found is None:
            raise _unknown(flow)
        rows = FlowState.objects.live(self.now()).filter(flow=found)
        return {key: json.loads(value) for key, value in rows.values_list("key", "value")}

    def runs(self, flow: str | None = None) -> list[FlowRun]:
        """Return all runs, or those of a flow, the first one first. Raises UnknownFlow."""
        found = Run.objects.order_by("created_at", "correlation_id")
        if flow is not None:
            if not can_be_a_name(flow):
                raise _unknown(flow)
            found = found.filter(flow_version__flow_name=flow)
        ids = list(found.values_list("pk", flat=True))
        # A deleted flow may still have runs.
        if flow is not None and not ids and not Flow.objects.filter(name=flow).exists():
            raise _unknown(flow)
        return [FlowRun(self, id) for id in ids]

    def work(self, *, deliveries: int | None = None, moves_time: bool = True) -> int:
        """Work until no message can go on, and return the number of delivered messages.

        `deliveries` is the largest number to deliver, one after the other. Without `moves_time` the
        time stands still, and only messages that are ready now are delivered.
        """
        __tracebackhide__ = True
        if deliveries is not None:
            check_number("deliveries", deliveries, 0)
        check_flag("moves_time", moves_time)
        self._require_open()
        left = deliveries
        delivered = 0
        while left is None or left > 0:
            count = self._serve_one(None if left is None else 1)
            if not count and not (moves_time and self._move_on()):
                break
            delivered += count
            left = None if left is None else left - count
        return delivered

    def work_while(self, is_wanted: Callable[[], bool]) -> None:
        """Work while the function returns true and a message can go on."""
        __tracebackhide__ = True
        check_function("is_wanted", is_wanted, "nothing", 0)
        self._require_open()
        while is_wanted() and (self._serve_one(None) or self._move_on()):
            continue

    # --- how it works ------------------------------------------------------------------------

    def _require_open(self) -> None:
        __tracebackhide__ = True
        if not self._is_open:
            raise RuntimeError(
                "The kit works within its `with` block: with FlowKit() as kit. FlowTestMixin and"
                " the fixture flow_kit see to that."
            )

    def _serve_one(self, most: int | None) -> int:
        """Work on the queue served longest ago, and return the number of delivered messages."""
        __tracebackhide__ = True
        count_starts_at_once()
        start_due()
        cancel_overdue()
        for queue in self._servable():
            self._sessions += 1
            if self._sessions > MOST_SESSIONS:
                raise AssertionError(f"There is still work after {MOST_SESSIONS} sessions.")
            self._served[queue.queue_id] = self._sessions
            with self._pool() as hosts:
                count = work_on(
                    queue.queue_id, queue.threads, hosts, self._clock, most, self._raise_faults
                )
            if count:
                return count
        return 0

    def _servable(self) -> list[Ready]:
        queues = servable(store().ready())
        return sorted(
            queues, key=lambda queue: (self._served.get(queue.queue_id, 0), queue.queue_id)
        )

    @contextmanager
    def _pool(self) -> Iterator[KitPool]:
        hosts = pool()
        hosts.outside, hosts.clock = self.outside, self._clock
        hosts.is_in_process = self._in_process
        if not self._has_worked:
            # They are those of another test.
            hosts.cached.clear()
            service_client.shared_values().clear()
            self._has_worked = True
        # A test may have stored a new version.
        hosts.tables.expire()
        tables.files().expire()
        yield hosts

    def _move_on(self) -> bool:
        """Move time on until the next message can go on. Return False if there is none."""
        moment = min(self._next_moments(), default=None)
        if moment is None:
            return False
        self._clock.move_to(moment)
        return True

    def _next_moments(self) -> Iterator[datetime]:
        now = self.now()
        waiting = Message.objects.filter(queue__isnull=False, available_at__gt=now)
        for paused in ("queue__paused", "queue__step__flow__paused"):
            waiting = waiting.exclude(**{paused: True, "bypasses_pause": False})
        if next_at := waiting.aggregate(next_at=Min("available_at"))["next_at"]:
            yield next_at
        for queue in store().ready():
            rate = queue.rate_limit
            if rate and queue.head_step_id and not rate.allowance(now.timestamp()):
                free_at = datetime.fromtimestamp(rate.free_at(now.timestamp()), now.tzinfo)
                yield free_at + INSTANT

    def _raise_faults(self) -> None:
        __tracebackhide__ = True
        if self.outside.faults:
            fault = self.outside.faults[0]
            self.outside.faults.clear()
            raise fault

    # --- what a test replaces ----------------------------------------------------------------

    def _replace(self, stack: ExitStack) -> None:
        database = store().database
        replaced: list[tuple[Any, str, Any]] = [
            (database, "now", self._clock.now),
            (database, "query_now", partial(Database.query_now, database)),
            (database, "ask_now", partial(Database.ask_now, database)),
            (queue_rules, "ages", self._ages),
            (queue_rules, "waited", lambda held: waited(held, self.now().timestamp())),
            # A developer may stop in a callable with a debugger: no time limit ends the tests.
            (watchdog, "call", lambda limit, function, *arguments: function(*arguments)),
            (service_client, "_outside_calls", lambda: self.outside),
            (secret_values, "_read", self._secret_reader(secret_values._read)),
            (secret_values, "KEPT_SECONDS", -1.0),
            *((module, "time", SteadyTime()) for module in TIMED),
        ]
        if connection.in_atomic_block:
            # They would close the test's transaction, or limit its time.
            replaced += [
                (database, "limit_transaction", lambda: None),
                (session, "drop_connections", lambda: None),
            ]
        for target, name, value in replaced:
            stack.enter_context(patch.object(target, name, value))
        secret_values.forget_secrets()
        stack.callback(secret_values.forget_secrets)
        # A test that is rolled back stores nothing of what its scripts have left.
        pending_states.clear()
        stack.callback(pending_states.clear)

    def _ages(self, held: Sequence[HeldMessage]) -> list[timedelta]:
        times = dict(Run.objects.values_list("pk", "created_at"))
        return [self.now() - times[UUID(each.run_id)] for each in held]

    def _secret_reader(
        self, read: Callable[[str], tuple[str, bool]]
    ) -> Callable[[str], tuple[str, bool]]:
        return lambda name: (self._secrets[name], True) if name in self._secrets else read(name)

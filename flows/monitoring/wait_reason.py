"""Why a queue or a run waits: a sentence and a code, derived from the engine's own state."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import Any

from django.conf import settings
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Left

from flows.encryption.payload_keys import PREFIX_LENGTH, decrypt, has_keys, missing_key
from flows.errors import PayloadUnreadable
from flows.models import Consumer, Flow, FlowState, LiveCluster, Message, Queue, Run, StepVersion
from flows.models.payload_text import is_encrypted, stored
from flows.models.users import user_name_field
from flows.monitoring.times import rfc3339
from flows.plan import step_plan
from flows.store import store
from flows.store.rate_limit import RateLimit
from flows.store.waiting import reason_of, waits_at

PRIORITIES = range(10)
WORKED_ON_FIRST = (F("consumer_id").desc(nulls_last=True), "available_at")
# A live worker takes a message in less time than this.
UNNOTICED = timedelta(seconds=5)
# Where no worker is alive, the first few of the filled queues say so, without a look at the others.
MOST_LIKELY = 8


class Cause(str):
    """Why something waits: a sentence for people, and a fixed word for programs."""

    code: str

    def __new__(cls, code: str, sentence: str) -> Cause:
        cause = super().__new__(cls, sentence)
        cause.code = code
        return cause


# Every code that a cause may have.
CODES = (
    "no-workers",
    "no-cluster",
    "queue-paused",
    "flow-paused",
    "delayed",
    "back-off",
    "script-waits",
    "payload-unreadable",
    "rate-limited",
    "slowed-down",
    "threads-busy",
    "workers-busy",
    "queue-full",
    "next-queue-full",
    "join-queue-full",
    "started-queue-full",
    "higher-priority",
    "others-first",
    "worker-died",
    "step-deleted",
)

# What the answers are made from.
SELECTED = ("state", "paused_by", "step__flow", "step__flow__paused_by")


@cache
def _columns() -> tuple[str, ...]:
    """Return the columns that are needed: to name each of all takes a query longer than to run."""
    return (
        *("name", "size", "cluster", "paused", "pause_reason", "rate_count", "rate_period"),
        *("state__depth", "state__reserved", "state__delayed"),
        *("state__recent_starts", "state__slow_until", "step__name", "step__threads"),
        *(f"step__flow__{each}" for each in ("name", "paused", "pause_reason")),
        *(f"{each}__{user_name_field()}" for each in ("paused_by", "step__flow__paused_by")),
    )


def _is_taken(now: datetime) -> Combinable:
    """Return, for a query of queues, whether a cluster is alive that takes their messages.

    Where none has said that it lives, any may take a queue that is bound to none.
    """
    alive = LiveCluster.objects.alive(now)
    of_any = Exists(alive.filter(takes_unbound=True)) | ~Exists(alive)
    return Case(
        When(cluster="", then=of_any), default=Exists(alive.filter(name=OuterRef("cluster")))
    )


def why_queue(queue: Queue) -> Cause | None:
    """Return why messages wait in the queue; None if none wait, or a worker is just taking them."""
    return QueueSnapshot(Queue.objects.filter(pk=queue.pk)).why_queue(queue.pk)


def why_run(run: Run) -> Cause | None:
    """Return why the run waits; None if it has ended or a script is at work on it.

    A pause comes first, then a delayed start, then the state of the queue. Of several branches the
    next one counts.
    """
    waiting = Message.objects.of_run(run.pk).defer("body").order_by(*WORKED_ON_FIRST)
    message = waiting.first()
    if message is None:
        return None
    if message.queue_id is None:
        # A worker that looks for room is done at once, and looks again.
        return QueueSnapshot(Queue.objects.none()).why_held() or _why_starts_wait(message)
    return QueueSnapshot(Queue.objects.filter(pk=message.queue_id)).why_message(message)


class QueueSnapshot:
    """Some queues and their waiting messages, read once to answer for each queue."""

    def __init__(
        self,
        queues: QuerySet[Queue],
        now: datetime | None = None,
        sessions: list[tuple[int, int, datetime]] | None = None,
    ) -> None:
        """`sessions`: those that another snapshot has read at that moment."""
        self.now = now or store().database.now()
        if sessions is not None:
            self._sessions = sessions
        self._alive_since = self.now - timedelta(seconds=settings.ASYNCENGINE_LEASE_SECONDS)
        read = queues.select_related(*SELECTED).only(*_columns())
        found: list[Any] = list(read.annotate(is_taken=_is_taken(self.now)))
        self.queues: dict[int, Any] = {queue.pk: queue for queue in found}
        for queue in found:
            queue.granted = self._granted[queue.pk]

    # --- the questions ---------------------------------------------------------------------

    def why_queue(self, queue_id: int) -> Cause | None:
        firsts = self.firsts[queue_id]
        if not firsts:
            return None
        if standing_still := self._why_standing_still(queue_id):
            return standing_still
        if ready := self._ready(queue_id):
            return self._why_not_taken(queue_id, ready[0].step_id, self.oldest_at(queue_id))
        return _why_delayed(min(firsts, key=lambda message: message.available_at))

    def why_message(self, message: Message) -> Cause | None:
        queue_id = message.queue_id
        if queue_id is None or queue_id not in self.queues:
            return None
        if standing_still := self._why_standing_still(queue_id, message.bypasses_pause):
            return standing_still
        if message.available_at > self.now:
            return _why_delayed(message, _why_not_read)
        return (
            _why_starts_wait(message)
            or self._why_not_admitted(message)
            or self._why_no_room(message.step_id)
            or self._why_others_first(message)
            or self._why_not_taken(queue_id, message.step_id, message.available_at)
            or self._why_not_noticed(message)
        )

    def why_paused(self, queue_id: int) -> Cause | None:
        """Return by what and since when the queue or its flow is paused, None if neither is."""
        return self._why_paused(queue_id)

    def why_held(self) -> Cause | None:
        return NO_LIVE_WORKERS if self.no_live_workers else None

    def oldest_at(self, queue_id: int) -> datetime | None:
        """Return the time since which the oldest ready message is ready."""
        return min((message.available_at for message in self._ready(queue_id)), default=None)

    def oldest(self) -> Any:
        """Return the message that has been ready for the longest time of all; None if none is
        ready."""
        ready = (message for queue_id in self.queues for message in self._ready(queue_id))
        return min(ready, key=lambda message: message.available_at, default=None)

    # --- what is read ----------------------------------------------------------------------

    @cached_property
    def _sessions(self) -> list[tuple[int, int, datetime]]:
        """Return queue, threads and last heartbeat of each session, dead ones included."""
        sessions = Consumer.objects.order_by()
        return list(sessions.values_list("queue_id", "threads", "heartbeat_at"))

    @cached_property
    def _granted(self) -> Counter[int]:
        """Return the threads granted to live sessions by queue."""
        granted: Counter[int] = Counter()
        for queue_id, threads, heartbeat_at in self._sessions:
            if heartbeat_at >= self._alive_since:
                granted[queue_id] += threads
        return granted

    @cached_property
    def firsts(self) -> defaultdict[int, list[Message]]:
        """By queue the first waiting message of each priority, the highest first.

        Each takes one probe of the index of waiting messages, for any number of them.
        """
        ids = store().first_waiting(list(self.queues))
        messages = Message.objects.filter(pk__in=ids, queue__isnull=False).defer("body")
        firsts: defaultdict[int, list[Message]] = defaultdict(list)
        for message in messages.order_by("-priority"):
            firsts[message.queue_id or 0].append(message)
        return firsts

    def _ready(self, queue_id: int) -> list[Message]:
        return [message for message in self.firsts[queue_id] if message.available_at <= self.now]

    @property
    def _last_heartbeat(self) -> datetime | None:
        return max((heartbeat_at for _, _, heartbeat_at in self._sessions), default=None)

    @property
    def _has_live_worker(self) -> bool:
        return self._last_heartbeat is not None and self._last_heartbeat >= self._alive_since

    @cached_property
    def no_live_workers(self) -> bool:
        """Whether no worker is alive. Workers are not registered, so this is concluded.

        No live session exists although a worker would have one: to take a message that nothing
        holds back, or to end the lease of a dead session.
        """
        if self._has_live_worker:
            return False
        if self._last_heartbeat is not None:
            return True
        filled = Queue.objects.filter(Q(state__depth__gt=0) | Q(state__delayed__gt=0))
        moving = filled.exclude(paused=True).exclude(step__flow__paused=True)
        in_order = moving.order_by("pk")
        likely = QueueSnapshot(in_order[:MOST_LIKELY], self.now, self._sessions)
        if likely._has_unnoticed():
            return True
        return len(likely.queues) == MOST_LIKELY and (
            QueueSnapshot(
                in_order.exclude(pk__in=likely.queues), self.now, self._sessions
            )._has_unnoticed()
        )

    def _has_unnoticed(self) -> bool:
        return any(self._is_unnoticed(queue_id) for queue_id in self.queues)

    def _is_unnoticed(self, queue_id: int) -> bool:
        ready, oldest_at = self._ready(queue_id), self.oldest_at(queue_id)
        if oldest_at is None or oldest_at > self.now - UNNOTICED:
            return False
        if self._why_paused(queue_id) or self._why_no_cluster(queue_id):
            return False
        return self._why_held_back(queue_id, ready[0].step_id) is None

    @cached_property
    def _queue_pauses(self) -> dict[int, Pause]:
        return _pauses(Queue, {pk for pk, queue in self.queues.items() if queue.paused})

    @cached_property
    def _flow_pauses(self) -> dict[int, Pause]:
        flows = [flow for queue in self.queues.values() if (flow := _flow_of(queue))]
        return _pauses(Flow, {flow.pk for flow in flows if flow.paused})

    @cached_property
    def _full(self) -> dict[int, Any]:
        full = Queue.objects.filter(size__lte=F("state__depth") + F("state__reserved"))
        return full.select_related("state").in_bulk()

    # --- the causes, in their order --------------------------------------------------------

    def _why_standing_still(self, queue_id: int, bypasses_pause: bool = False) -> Cause | None:
        if self.no_live_workers:
            return NO_LIVE_WORKERS
        paused = None if bypasses_pause else self._why_paused(queue_id)
        return paused or self._why_no_cluster(queue_id)

    def _why_no_cluster(self, queue_id: int) -> Cause | None:
        """Return that no cluster is running that takes its messages.

        A queue that is bound to none is looked at once it has waited: most clusters take it.
        """
        queue = self.queues[queue_id]
        if queue.granted or queue.is_taken:
            return None
        if queue.cluster:
            said = f"No worker of the cluster {queue.cluster!r}, which it is bound to, is running."
        else:
            since = self.oldest_at(queue_id)
            if since is None or since > self.now - UNNOTICED:
                return None
            said = "The workers that are running take messages of other queues alone."
        return Cause("no-cluster", said)

    def _why_paused(self, queue_id: int) -> Cause | None:
        queue = self.queues[queue_id]
        if queue.paused:
            said = _paused(queue, self._queue_pauses.get(queue.pk))
            return Cause("queue-paused", f"The queue {said}")
        flow = _flow_of(queue)
        if flow and flow.paused:
            said = _paused(flow, self._flow_pauses.get(flow.pk))
            return Cause("flow-paused", f"The flow {said}")
        return None

    def _why_not_taken(
        self, queue_id: int, step_id: int, ready_since: datetime | None
    ) -> Cause | None:
        if cause := self._why_held_back(queue_id, step_id):
            return cause
        is_unnoticed = ready_since is not None and ready_since <= self.now - UNNOTICED
        if is_unnoticed and self._has_live_worker and not self.queues[queue_id].granted:
            return Cause("workers-busy", "The workers are busy with other queues.")
        return None

    def _why_not_admitted(self, message: Message) -> Cause | None:
        """Return why a delayed start whose time has come has no room in its queue."""
        queue = self.queues[message.queue_id or 0]
        taken = queue.state.depth + queue.state.reserved
        if not message.delayed or taken < queue.size:
            return None
        return Cause(
            "queue-full", f"Its time has come, and its queue is full, {taken} of {queue.size}."
        )

    def _why_others_first(self, message: Message) -> Cause | None:
        """Return that a more urgent message is ready, which gets the threads and the rate first."""
        if message.bypasses_pause:
            return None
        more_urgent = Message.objects.filter(
            queue=message.queue_id, priority__gt=message.priority, available_at__lte=self.now
        )
        highest = more_urgent.order_by("-priority").values_list("priority", flat=True).first()
        if highest is None:
            return None
        return Cause(
            "higher-priority",
            f"Messages of a higher priority go first: one of priority {highest} is ready,"
            f" this has {message.priority}.",
        )

    def _why_not_noticed(self, message: Message) -> Cause | None:
        """Return the remaining causes, if a session on the queue has not taken it for a while."""
        if message.available_at > self.now - UNNOTICED or not self._has_live_worker:
            return None
        queue = self.queues[message.queue_id or 0]
        if message.suspects:
            return Cause(
                "worker-died",
                "A worker died while it held this message: it waits to be delivered with few.",
            )
        if queue.rate_count is not None:
            seconds = queue.rate_period.total_seconds()
            return Cause(
                "rate-limited",
                f"It waits for its turn in the rate limit of {queue.rate_count} in {seconds:g} s.",
            )
        return Cause("others-first", "Other messages of the queue go first.")

    def _why_held_back(self, queue_id: int, step_id: int) -> Cause | None:
        queue = self.queues[queue_id]
        return (
            self._why_limited(queue)
            or self._why_slow(queue)
            or _why_busy(queue)
            or self._why_no_room(step_id)
        )

    def _why_limited(self, queue: Queue) -> Cause | None:
        if queue.rate_count is None:
            return None
        rate = RateLimit.read(queue.rate_count, queue.rate_period, queue.state.recent_starts)
        epoch = self.now.timestamp()
        if rate.allowance(epoch):
            return None
        until = text_of(datetime.fromtimestamp(rate.free_at(epoch), UTC))
        limit = f"{rate.count} in {rate.period_seconds:g} s"
        return Cause("rate-limited", f"The rate limit of {limit} is used until {until}.")

    def _why_slow(self, queue: Queue) -> Cause | None:
        until = queue.state.slow_until
        if until is None or until <= self.now:
            return None
        said = f"A script was asked to wait: until {text_of(until)} it is one message at a time."
        return Cause("slowed-down", said)

    def _why_no_room(self, step_id: int) -> Cause | None:
        try:
            plan = step_plan(step_id)
        except StepVersion.DoesNotExist:
            return Cause("step-deleted", "Its step was deleted from the database: cancel the run.")
        full = next((self._full[id] for id in plan.rooms if id in self._full), None)
        if full is None:
            return None
        is_next = full.pk == plan.next_queue_id
        which = "The next queue" if is_next else "The queue, where its script may go to,"
        kept = f", {full.state.reserved} of them kept free" if full.state.reserved else ""
        taken = full.state.depth + full.state.reserved
        return Cause(
            "next-queue-full", f"{which} {full.name!r} is full, {taken} of {full.size}{kept}."
        )


NO_LIVE_WORKERS = Cause(
    "no-workers", "No worker is running, so no messages are taken from any queue."
)

Pause = tuple[datetime, str | None]


def text_of(at: datetime) -> str:
    return rfc3339(at, "milliseconds")


def _why_busy(queue: Any) -> Cause | None:
    step = queue.fed_step
    threads = step.threads if step else 1
    if queue.granted < threads:
        return None
    return Cause("threads-busy", f"All threads are busy, {queue.granted} of {threads}.")


def _why_delayed(
    message: Message, why_unreadable: Callable[[Message], str | None] | None = None
) -> Cause:
    until, why_unreadable = text_of(message.available_at), why_unreadable or _missing_key
    if not message.delayed and (unreadable := why_unreadable(message)):
        return Cause("payload-unreadable", f"{unreadable} It is tried again at {until}.")
    if starts_wait := _why_starts_wait(message):
        return Cause(starts_wait.code, f"{starts_wait} It looks again at {until}.")
    if message.pending_outputs:
        said = (
            f"Its branches have all ended; it looks for room in the queue of the join at {until}."
        )
        return Cause("join-queue-full", said)
    if (waits := script_wait(message)) is not None:
        return Cause("script-waits", f"{waits} It looks again at {until}.")
    if message.deliveries:
        said = f"After delivery {message.deliveries} it waits for its back-off until {until}."
        return Cause("back-off", said)
    return Cause("delayed", f"The start is delayed until {until}.")


def _why_starts_wait(message: Message) -> Cause | None:
    """Return why a message waits whose script has run; None where it waits for no starts."""
    if not message.pending_outputs:
        return None
    try:
        body = message.body
    except PayloadUnreadable:
        return None
    if not body.startswith("[{"):
        return None
    starts = json.JSONDecoder().raw_decode(body, 1)[0]["starts"]
    flows = {each["queue"]: each["flow"] for each in starts}
    for queue in Queue.objects.filter(pk__in=flows).select_related("state").order_by("pk"):
        taken = queue.state.depth + queue.state.reserved
        wanted = sum(each["queue"] == queue.pk and not each["startAt"] for each in starts)
        if wanted and taken + wanted > queue.size:
            room = f"{taken} of {queue.size} messages, and it starts {wanted}"
            said = f"The queue {queue.name!r} of the flow {flows[queue.pk]!r} is full: {room}."
            return Cause("started-queue-full", said)
    return Cause("started-queue-full", "A flow that its script starts has a full queue.")


def _missing_key(message: Message) -> str | None:
    """Return which key the workers lack for its body, as far as the keys here tell."""
    rows = Message.objects.filter(pk=message.pk).order_by()
    for (prefix,) in rows.values_list(Left("body", PREFIX_LENGTH)):
        return missing_key(prefix)
    return None


def _why_not_read(message: Message) -> str | None:
    """Return why the workers cannot read what it needs, as far as the keys here tell."""
    rows = Message.objects.filter(pk=message.pk).order_by()
    for text in rows.values_list(stored("body"), flat=True):
        try:
            decrypt(text)
        except PayloadUnreadable as error:
            return str(error)
    # With a delivery behind it, it may as well be in its back-off.
    return None if message.deliveries or not has_keys() else _missing_key_of_state(message.step_id)


def _missing_key_of_state(step_id: int) -> str | None:
    """Return which key is missing for the state of a step's flow."""
    try:
        flow_id = step_plan(step_id).site.flow_id
    except StepVersion.DoesNotExist:
        return None
    values = FlowState.objects.filter(is_encrypted("value"), flow=flow_id).order_by()
    prefixes = values.values_list(Left("value", PREFIX_LENGTH), flat=True).distinct()
    faults = (missing_key(prefix) for prefix in prefixes)
    return next((f"The state of its flow: {fault}" for fault in faults if fault), None)


def script_wait(message: Message) -> str | None:
    """Return for what the script of its step waits with the message; None: it does not."""
    if message.waiting is None or waits_at(message.waiting, message.step_id) is None:
        return None
    times, reason = reason_of(message.waiting)
    why = f": {reason.rstrip('.')}" if reason else ""
    return f"Its script waits{why}, for the {ordinal(times)} time."


def ordinal(number: int) -> str:
    last = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 < number % 100 < 14 else last}"


def _paused(target: Queue | Flow, pause: Pause | None) -> str:
    since, by = pause or (None, None)
    by = target.paused_by.get_username() if target.paused_by else by
    who = f" by {by}" if by else ""
    when = f" since {text_of(since)}" if since else ""
    why = f": {target.pause_reason.rstrip('.')}" if target.pause_reason else ""
    return f"{target.name!r} is paused{who}{when}{why}."


def _flow_of(queue: Queue) -> Flow | None:
    step = queue.fed_step
    return step.flow if step else None


def _pauses(model: type[Queue] | type[Flow], ids: Iterable[int]) -> dict[int, Pause]:
    """Return the time of each pause and the user that made it, from the history of changes."""
    if not ids:
        return {}
    history = model.history.model.objects
    later = Q(id=OuterRef("id"), history_id__gt=OuterRef("history_id"))
    rows = history.filter(~Exists(history.filter(later, paused=False)), id__in=ids, paused=True)
    # Of several changes the first one of this pause counts: it comes last in this order.
    changes = rows.order_by("-history_id")
    names = changes.values_list("id", "history_date", f"history_user__{user_name_field()}")
    return {pk: (at, name) for pk, at, name in names}

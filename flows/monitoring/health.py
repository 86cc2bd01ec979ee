"""What needs an operator: one set of rules, for home, alerts and `doctor`.

The rules are pure. They check a snapshot, which `flows/monitoring/overview.py` reads, by its
thresholds. Each alarm says what is the matter and what to do about it. What a rule says of itself
names the thresholds that the engine has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from flows.models.alert import AlertLevel
from flows.monitoring.thresholds import DEFAULT, Thresholds


class Target(StrEnum):
    """Where an alarm leads: the page of a flow or queue by its name, or a list."""

    FLOW = "flow"
    QUEUE = "queue"
    DEAD_LETTERS = "dead letters"
    FAILED_RUNS = "failed runs"
    CONSERVATION = "conservation"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class Alarm:
    """`rule` names the rule; with flow, queue and subject it tells one alarm from another.

    `subject`: a machine, a cluster, or a schedule of the flow.
    """

    rule: str
    level: AlertLevel
    sentence: str
    advice: str
    target: Target
    flow: str = ""
    queue: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class FlowHealth:
    """A flow: its open dead letters, those made since yesterday, and its ends by time."""

    name: str
    open_letters: int = 0
    new_letters: int = 0
    failed_in_hour: int = 0
    ended_in_hour: int = 0
    failed_in_week: int = 0
    ended_in_week: int = 0
    # Names of schedules whose last time had no run, each with the reason.
    schedule_problems: tuple[tuple[str, str], ...] = ()
    thresholds: Thresholds = DEFAULT


@dataclass(frozen=True, slots=True)
class QueueHealth:
    """A queue. `ready_for`: how long its oldest ready message waits, None where none is ready.

    `is_first`: it feeds the first step, so that starts are refused while it is full.
    `is_worked_on`: a worker has a session on it, or ended a delivery of it in the last minutes.
    `cluster`: the one that it is bound to, where no worker of it is alive. `unreadable`: why a
    cluster cannot read some of its messages.
    """

    name: str
    flow: str = ""
    taken: int = 0
    size: int = 1
    is_first: bool = False
    ready_for: timedelta | None = None
    is_paused: bool = False
    is_worked_on: bool = False
    waits_because: str = ""
    cluster: str = ""
    unreadable: str = ""
    thresholds: Thresholds = DEFAULT


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the rules check.

    `gone_flows`: names that no flow has any more, with open dead letters.
    `clusters`: how many are alive, None where that is not known; `gone_for`: how long none is, None
    where it is not known. `missing_measures`: of the sandbox by the name of a machine;
    `conservation_faults`: of the last check.
    """

    flows: tuple[FlowHealth, ...] = ()
    queues: tuple[QueueHealth, ...] = ()
    clusters: int | None = None
    has_live_consumers: bool = False
    missing_measures: tuple[tuple[str, tuple[str, ...]], ...] = ()
    conservation_faults: tuple[str, ...] = ()
    gone_for: timedelta | None = None
    thresholds: Thresholds = DEFAULT
    gone_flows: tuple[FlowHealth, ...] = ()


# Workers take a ready message in less time than this, so without any the alarm is raised.
UNNOTICED = timedelta(seconds=15)


def alarms(snapshot: Snapshot) -> list[Alarm]:
    """Return what needs an operator, the most urgent first."""
    found = [alarm for rule in RULES.values() for alarm in rule(snapshot)]
    return sorted(found, key=lambda alarm: alarm.level is not AlertLevel.CRITICAL)


def workers_gone(snapshot: Snapshot) -> Iterator[Alarm]:
    """No cluster is alive for 15 s; critical while messages wait."""
    if not _are_workers_gone(snapshot):
        return
    waiting = [queue for queue in snapshot.queues if _is_unnoticed(queue)]
    if not waiting and snapshot.clusters is None:
        return
    messages = "Messages wait" if waiting else "What is started now will wait"
    yield Alarm(
        "workers-gone",
        AlertLevel.CRITICAL if waiting else AlertLevel.WARNING,
        f"No worker is running. {messages}, and nothing is lost.",
        "Start one with: python manage.py qcluster. The log of the last one says why it ended.",
        Target.HELP,
    )


def cluster_gone(snapshot: Snapshot) -> Iterator[Alarm]:
    """A queue is bound to a cluster, and no worker of it is alive; critical while messages wait."""
    if _are_workers_gone(snapshot):
        return
    for cluster in sorted({queue.cluster for queue in snapshot.queues} - {""}):
        bound = [queue for queue in snapshot.queues if queue.cluster == cluster]
        waiting = [queue for queue in bound if _is_unnoticed(queue)]
        # It is the same alarm, whichever queue has messages: so it stands at the first of all.
        place, named = bound[0], waiting or bound
        more = len(named) - 1
        names = f"the queue {named[0].name}" + (f" and {more} more" if more else "")
        effect = "Messages wait in" if waiting else "What is started now will wait in"
        yield Alarm(
            "cluster-gone",
            AlertLevel.CRITICAL if waiting else AlertLevel.WARNING,
            f"No worker of the cluster {cluster} is running. {effect} {names}, bound to it.",
            f"Start one with: python manage.py qcluster -n {cluster}. Or bind the queue to another"
            " cluster, or to none.",
            Target.QUEUE,
            place.flow,
            place.name,
            subject=cluster,
        )


def sandbox_incomplete(snapshot: Snapshot) -> Iterator[Alarm]:
    """A machine with workers lacks a measure of the sandbox of scripts."""
    for machine, measures in snapshot.missing_measures:
        yield Alarm(
            "sandbox-incomplete",
            AlertLevel.WARNING,
            f"On {machine} the sandbox of scripts is not complete. Missing: {', '.join(measures)}.",
            "Scripts there are less confined than they should be, or do not run. The README says"
            " what each measure needs of the machine.",
            Target.HELP,
            subject=machine,
        )


def conservation_broken(snapshot: Snapshot) -> Iterator[Alarm]:
    """The last check of conservation has found that counters and rows differ."""
    faults = snapshot.conservation_faults
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        yield Alarm(
            "conservation",
            AlertLevel.CRITICAL,
            f"Counters and rows differ: {faults[0]}{more}.",
            "Check again; if it stays so, rows were changed outside of the engine.",
            Target.CONSERVATION,
        )


def messages_unreadable(snapshot: Snapshot) -> Iterator[Alarm]:
    """Messages of a queue wait, as a machine with workers has no key that decrypts them, or what
    their scripts read."""
    for queue in snapshot.queues:
        if queue.unreadable:
            yield Alarm(
                "messages-unreadable",
                AlertLevel.CRITICAL,
                f"Messages of the queue {queue.name} wait, for they cannot be read."
                f" {queue.unreadable}",
                "Add the key to ASYNCENGINE_PAYLOAD_KEYS of that machine, and restart its workers."
                " Take a payload that was changed from a backup, or cancel its run.",
                Target.QUEUE,
                queue.flow,
                queue.name,
            )


def queue_full(snapshot: Snapshot) -> Iterator[Alarm]:
    """A queue has 90 % of its size; critical when it is full."""
    for queue in snapshot.queues:
        if queue.taken * 100 < queue.size * min(queue.thresholds.queue_full, 100.0):
            continue
        is_full = queue.taken >= queue.size
        state = "is full" if is_full else "is nearly full"
        effect = "It takes no more" if is_full else "Soon it takes no more"
        refused = "starts are refused with 429" if queue.is_first else "the steps before it wait"
        yield Alarm(
            "queue-full",
            AlertLevel.CRITICAL if is_full else AlertLevel.WARNING,
            f"The queue {queue.name} {state}: {queue.taken:,} of {queue.size:,} messages.",
            f"{effect}: {refused}. Give its step more threads, see what it waits for, or raise its"
            " size.",
            Target.QUEUE,
            queue.flow,
            queue.name,
        )


def queue_standing_still(snapshot: Snapshot) -> Iterator[Alarm]:
    """A message has been ready for 3 minutes, the queue is not paused, and no worker is at it."""
    if _are_workers_gone(snapshot):
        return
    for queue in snapshot.queues:
        if queue.ready_for is None or queue.ready_for < queue.thresholds.standing_still:
            continue
        if queue.is_paused or queue.is_worked_on or queue.cluster:
            continue
        because = f" {queue.waits_because}" if queue.waits_because else ""
        yield Alarm(
            "queue-standing-still",
            AlertLevel.CRITICAL,
            f"The queue {queue.name} stands still: a message has been ready for"
            f" {duration(queue.ready_for)} and none was taken.{because}",
            "Its page says why it waits.",
            Target.QUEUE,
            queue.flow,
            queue.name,
        )


def queue_waiting_long(snapshot: Snapshot) -> Iterator[Alarm]:
    """A message has been ready for longer than the oldest message may be, and the queue is not
    paused; never, while no such threshold is set."""
    for queue in snapshot.queues:
        longest = queue.thresholds.oldest_age
        if longest is None or queue.ready_for is None or queue.ready_for < longest:
            continue
        if queue.is_paused:
            continue
        yield Alarm(
            "queue-waiting-long",
            AlertLevel.WARNING,
            f"Messages of the queue {queue.name} wait for long: the oldest has been ready for"
            f" {duration(queue.ready_for)}.",
            "Give its step more threads, start more workers, or see what its script waits for.",
            Target.QUEUE,
            queue.flow,
            queue.name,
        )


def failing_more(snapshot: Snapshot) -> Iterator[Alarm]:
    """At least 5 ends of runs in the last hour were failures, 2 % of all ends, and twice the share
    of the week before; critical from half of them on. A run that is reprocessed ends again."""
    for flow in snapshot.flows:
        of_flow = flow.thresholds
        if flow.failed_in_hour < of_flow.failed_runs or not flow.ended_in_hour:
            continue
        share = flow.failed_in_hour / flow.ended_in_hour
        # The hour itself is no measure of what is usual.
        ended_before = flow.ended_in_week - flow.ended_in_hour
        failed_before = flow.failed_in_week - flow.failed_in_hour
        usual = failed_before / ended_before if ended_before > 0 else 0.0
        if share < max(usual * of_flow.failed_factor, of_flow.failed_share / 100):
            continue
        before = f"; in the week before it was {usual:.1%}" if ended_before > 0 else ""
        yield Alarm(
            "failing-more",
            AlertLevel.CRITICAL if share * 100 >= of_flow.critical_share else AlertLevel.WARNING,
            f"The flow {flow.name} fails more than usual: {flow.failed_in_hour:,} of"
            f" {flow.ended_in_hour:,} ends of runs in the last hour were failures,"
            f" {share:.1%}{before}.",
            "Look at the newest failed runs: the first line of their error is in the list.",
            Target.FAILED_RUNS,
            flow.name,
        )


def new_dead_letters(snapshot: Snapshot) -> Iterator[Alarm]:
    """Dead letters that were made since yesterday are open; also those of flows that are gone."""
    for flow in (*snapshot.flows, *snapshot.gone_flows):
        new = min(flow.new_letters, flow.open_letters)
        if new and new >= flow.thresholds.new_letters:
            one = new == 1
            gone = "former " if flow in snapshot.gone_flows else ""
            yield Alarm(
                "dead-letters",
                AlertLevel.WARNING,
                f"{new:,} dead letter{'' if one else 's'} of the {gone}flow {flow.name}"
                f" {'is' if one else 'are'} new since yesterday.",
                "Repair the script or the payload, then reprocess; or discard"
                f" {'it' if one else 'them'}.",
                Target.DEAD_LETTERS,
                flow.name,
            )


def schedule_not_started(snapshot: Snapshot) -> Iterator[Alarm]:
    """The last time of a schedule has started no run, for another reason than a full queue."""
    for flow in snapshot.flows:
        for name, problem in flow.schedule_problems:
            yield Alarm(
                "schedule-not-started",
                AlertLevel.WARNING,
                f"The schedule {name} has not started the flow {flow.name}. {problem}",
                "Repair it on its page. The alarm ends with its next run.",
                Target.FLOW,
                flow.name,
                subject=name,
            )


# By the name that their alarms have.
RULES: dict[str, Callable[[Snapshot], Iterator[Alarm]]] = {
    "workers-gone": workers_gone,
    "cluster-gone": cluster_gone,
    "conservation": conservation_broken,
    "messages-unreadable": messages_unreadable,
    "queue-standing-still": queue_standing_still,
    "queue-full": queue_full,
    "queue-waiting-long": queue_waiting_long,
    "failing-more": failing_more,
    "dead-letters": new_dead_letters,
    "schedule-not-started": schedule_not_started,
    "sandbox-incomplete": sandbox_incomplete,
}


def _are_workers_gone(snapshot: Snapshot) -> bool:
    """Tell whether none is alive for as long as is allowed: then no alarm says it for a queue."""
    if snapshot.clusters or snapshot.has_live_consumers:
        return False
    return snapshot.gone_for is None or snapshot.gone_for >= snapshot.thresholds.workers_gone


def _is_unnoticed(queue: QueueHealth) -> bool:
    return not queue.is_paused and queue.ready_for is not None and queue.ready_for >= UNNOTICED


def duration(time: timedelta) -> str:
    """Write a time for people, in one unit."""
    if time < timedelta(minutes=2):
        return f"{time.total_seconds():.0f} seconds"
    whole = round(time.total_seconds() / 60)
    if whole < 120:
        return f"{whole} minutes"
    return f"{whole // 60} hours" if whole < 48 * 60 else f"{whole // 1440} days"

"""The rules of health, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flows.monitoring.health import (
    RULES,
    Alarm,
    AlertLevel,
    FlowHealth,
    QueueHealth,
    Snapshot,
    Target,
    alarms,
)
from flows.monitoring.thresholds import Thresholds

ALIVE = {"clusters": 1}
MINUTE = timedelta(minutes=1)
WAITS_5_MINUTES = Thresholds(oldest_age=5 * MINUTE)


def flow(**fields: Any) -> FlowHealth:
    return FlowHealth("orders", **fields)


def queue(**fields: Any) -> QueueHealth:
    return QueueHealth("orders-parse", flow="orders", **({"size": 100} | fields))


def failing(now: tuple[int, int], week: tuple[int, int]) -> FlowHealth:
    """Return a flow with these failed of these ended runs, in the hour and in the whole week."""
    return flow(
        failed_in_hour=now[0], ended_in_hour=now[1], failed_in_week=week[0], ended_in_week=week[1]
    )


CASES: list[tuple[str, Snapshot, list[tuple[str, AlertLevel]]]] = [
    ("nothing", Snapshot(clusters=1), []),
    ("a flow at rest", Snapshot((flow(),), (queue(),), **ALIVE), []),
    # Workers.
    ("no worker, nothing waits", Snapshot(clusters=0), [("workers-gone", AlertLevel.WARNING)]),
    ("it is not known whether there are workers", Snapshot(clusters=None), []),
    ("unknown clusters, live consumers", Snapshot(clusters=None, has_live_consumers=True), []),
    ("a consumer outlives its cluster", Snapshot(clusters=0, has_live_consumers=True), []),
    (
        "no worker and messages wait",
        Snapshot((), (queue(ready_for=MINUTE),), clusters=0),
        [("workers-gone", AlertLevel.CRITICAL)],
    ),
    (
        "no worker, and the clusters are unknown",
        Snapshot((), (queue(ready_for=MINUTE),), clusters=None),
        [("workers-gone", AlertLevel.CRITICAL)],
    ),
    (
        "no worker and messages wait in a paused queue",
        Snapshot((), (queue(ready_for=MINUTE, is_paused=True),), clusters=0),
        [("workers-gone", AlertLevel.WARNING)],
    ),
    (
        "no worker for so long that the queue stands still: one alarm",
        Snapshot((), (queue(ready_for=10 * MINUTE),), clusters=0),
        [("workers-gone", AlertLevel.CRITICAL)],
    ),
    (
        "no worker of a cluster that an empty queue is bound to",
        Snapshot((), (queue(cluster="reports"),), **ALIVE),
        [("cluster-gone", AlertLevel.WARNING)],
    ),
    (
        "no worker of a cluster that three queues are bound to, where messages wait: one alarm",
        Snapshot(
            (),
            (queue(cluster="reports"), *[queue(cluster="reports", ready_for=10 * MINUTE)] * 2),
            **ALIVE,
        ),
        [("cluster-gone", AlertLevel.CRITICAL)],
    ),
    (
        "no worker of a cluster, nor any other",
        Snapshot((), (queue(cluster="reports", ready_for=MINUTE),), clusters=0),
        [("workers-gone", AlertLevel.CRITICAL)],
    ),
    # Queues.
    ("89 of 100", Snapshot((), (queue(taken=89),), **ALIVE), []),
    ("90 of 100", Snapshot((), (queue(taken=90),), **ALIVE), [("queue-full", AlertLevel.WARNING)]),
    ("full", Snapshot((), (queue(taken=100),), **ALIVE), [("queue-full", AlertLevel.CRITICAL)]),
    ("over", Snapshot((), (queue(taken=120),), **ALIVE), [("queue-full", AlertLevel.CRITICAL)]),
    ("a wait of a minute", Snapshot((), (queue(ready_for=MINUTE),), **ALIVE), []),
    (
        "ready for ten minutes, none is taken",
        Snapshot((), (queue(ready_for=10 * MINUTE),), **ALIVE),
        [("queue-standing-still", AlertLevel.CRITICAL)],
    ),
    (
        "a long queue that is worked on",
        Snapshot((), (queue(ready_for=600 * MINUTE, is_worked_on=True),), **ALIVE),
        [],
    ),
    (
        "a paused queue stands still as it should",
        Snapshot((), (queue(ready_for=600 * MINUTE, is_paused=True),), **ALIVE),
        [],
    ),
    # Thresholds that the configuration sets.
    (
        "no worker for less time than is allowed",
        Snapshot(clusters=0, gone_for=MINUTE, thresholds=Thresholds(workers_gone=2 * MINUTE)),
        [],
    ),
    (
        "no worker for less time than is allowed, and a queue stands still meanwhile",
        Snapshot(
            (),
            (queue(ready_for=10 * MINUTE),),
            clusters=0,
            gone_for=10 * MINUTE,
            thresholds=Thresholds(workers_gone=30 * MINUTE),
        ),
        [("queue-standing-still", AlertLevel.CRITICAL)],
    ),
    (
        "no worker for less time than is allowed, and none of a cluster for more",
        Snapshot(
            (),
            (queue(ready_for=40 * MINUTE, cluster="reports"),),
            clusters=0,
            gone_for=10 * MINUTE,
            thresholds=Thresholds(workers_gone=30 * MINUTE),
        ),
        [("cluster-gone", AlertLevel.CRITICAL)],
    ),
    (
        "no worker for more time than is allowed",
        Snapshot(clusters=0, gone_for=2 * MINUTE, thresholds=Thresholds(workers_gone=2 * MINUTE)),
        [("workers-gone", AlertLevel.WARNING)],
    ),
    (
        "full from 50 %, and from 100 %",
        Snapshot(
            (),
            (
                queue(taken=50, thresholds=Thresholds(queue_full=50)),
                queue(taken=99, thresholds=Thresholds(queue_full=100)),
            ),
            **ALIVE,
        ),
        [("queue-full", AlertLevel.WARNING)],
    ),
    (
        "standing still after an hour, and after a second",
        Snapshot(
            (),
            (
                queue(ready_for=59 * MINUTE, thresholds=Thresholds(standing_still=60 * MINUTE)),
                queue(ready_for=MINUTE / 60, thresholds=Thresholds(standing_still=MINUTE / 60)),
            ),
            **ALIVE,
        ),
        [("queue-standing-still", AlertLevel.CRITICAL)],
    ),
    (
        "an oldest message beyond what is allowed, of a queue that is worked on, and a paused one",
        Snapshot(
            (),
            (
                queue(ready_for=5 * MINUTE, is_worked_on=True, thresholds=WAITS_5_MINUTES),
                queue(ready_for=4 * MINUTE, is_worked_on=True, thresholds=WAITS_5_MINUTES),
                queue(ready_for=9 * MINUTE, is_paused=True, thresholds=WAITS_5_MINUTES),
            ),
            **ALIVE,
        ),
        [("queue-waiting-long", AlertLevel.WARNING)],
    ),
    (
        "dead letters from the third on",
        Snapshot(
            (
                flow(open_letters=9, new_letters=2, thresholds=Thresholds(new_letters=3)),
                flow(open_letters=3, new_letters=9, thresholds=Thresholds(new_letters=3)),
            ),
            **ALIVE,
        ),
        [("dead-letters", AlertLevel.WARNING)],
    ),
    *(
        (
            f"a tenth fails where one in a hundred did: {name} is set",
            Snapshot(
                (replace(failing((10, 100), (20, 1100)), thresholds=Thresholds(**{name: value})),),
                **ALIVE,
            ),
            [("failing-more", level)] if level else [],
        )
        for name, value, level in (
            ("failed_runs", 10, AlertLevel.WARNING),
            ("failed_runs", 11, None),
            ("failed_share", 10.0, AlertLevel.WARNING),
            ("failed_share", 10.1, None),
            ("failed_factor", 10.0, AlertLevel.WARNING),
            ("failed_factor", 10.1, None),
            ("critical_share", 10.0, AlertLevel.CRITICAL),
        )
    ),
    # Failures.
    ("four failed are too few", Snapshot((failing((4, 4), (4, 4)),), **ALIVE), []),
    (
        "all fail, of a new flow",
        Snapshot((failing((5, 5), (5, 5)),), **ALIVE),
        [("failing-more", AlertLevel.CRITICAL)],
    ),
    (
        "a tenth fails where one in a hundred did",
        Snapshot((failing((10, 100), (20, 1100)),), **ALIVE),
        [("failing-more", AlertLevel.WARNING)],
    ),
    (
        "a tenth fails as it always did",
        Snapshot((failing((10, 100), (110, 1100)),), **ALIVE),
        [],
    ),
    ("half a percent of many", Snapshot((failing((50, 10_000), (50, 90_000)),), **ALIVE), []),
    # Dead letters.
    ("old ones alone", Snapshot((flow(open_letters=7),), **ALIVE), []),
    (
        "new ones",
        Snapshot((flow(open_letters=7, new_letters=2),), **ALIVE),
        [("dead-letters", AlertLevel.WARNING)],
    ),
    (
        "a schedule that could not start its flow",
        Snapshot((flow(schedule_problems=(("nightly", "Its payload is refused."),)),), **ALIVE),
        [("schedule-not-started", AlertLevel.WARNING)],
    ),
    ("new ones, decided already", Snapshot((flow(open_letters=0, new_letters=2),), **ALIVE), []),
    # The installation.
    (
        "counters and rows differ",
        Snapshot(clusters=1, conservation_faults=("flow orders: accepted is 1", "more")),
        [("conservation", AlertLevel.CRITICAL)],
    ),
    (
        "a machine has no key for messages of a queue",
        Snapshot((), (queue(unreadable="On a: The key is missing."),), **ALIVE),
        [("messages-unreadable", AlertLevel.CRITICAL)],
    ),
    (
        "the sandbox lacks something on two hosts",
        Snapshot(clusters=2, missing_measures=(("a", ("seccomp",)), ("b", ("user", "network")))),
        [("sandbox-incomplete", AlertLevel.WARNING)] * 2,
    ),
]


@pytest.mark.parametrize(
    ("snapshot", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_snapshot_raises_these_alarms(
    snapshot: Snapshot, expected: list[tuple[str, AlertLevel]]
) -> None:
    assert [(alarm.rule, alarm.level) for alarm in alarms(snapshot)] == expected


def test_each_alarm_has_the_name_of_its_rule():
    named = {
        (name, alarm.rule)
        for _, snapshot, _ in CASES
        for name, rule in RULES.items()
        for alarm in rule(snapshot)
    }

    assert named == {(name, name) for name in RULES}


def everything() -> list[Alarm]:
    flows = (failing((10, 100), (20, 1100)), flow(open_letters=3, new_letters=3))
    queues = (queue(taken=95), queue(taken=100), queue(ready_for=10 * MINUTE))
    measures = (("host", ("seccomp",)),)
    return alarms(Snapshot(flows, queues, 1, True, measures, ("flow orders: 1 is 2",)))


def test_what_is_urgent_comes_first() -> None:
    levels = [alarm.level for alarm in everything()]

    assert levels == sorted(levels, key=[AlertLevel.CRITICAL, AlertLevel.WARNING].index)
    assert set(levels) == set(AlertLevel)


def test_each_alarm_says_what_to_do_and_where() -> None:
    for alarm in everything():
        assert alarm.sentence[-1] in ".!"
        assert alarm.advice.endswith(".")
        assert alarm.target in Target
        if alarm.target is Target.QUEUE:
            assert (alarm.queue, alarm.flow) == ("orders-parse", "orders")
        if alarm.target in (Target.DEAD_LETTERS, Target.FAILED_RUNS):
            assert alarm.flow == "orders"


def test_sentences_have_the_figures() -> None:
    said = " ".join(alarm.sentence for alarm in everything())

    for part in (
        "100 of 100 messages",
        "10 of 100 ends of runs",
        "10.0%",
        "was 1.0%",
        "3 dead letters",
    ):
        assert part in said


def test_a_cluster_that_stays_gone_is_one_alarm_whichever_queue_has_messages():
    """Otherwise alerts would tell its end, and a new one."""
    names = ("bills", "orders", "parcels")

    def alarm(waiting: str) -> Alarm:
        queues = tuple(
            replace(
                queue(cluster="reports"), name=name, ready_for=MINUTE if name == waiting else None
            )
            for name in names
        )
        [found] = alarms(Snapshot((), queues, **ALIVE))
        return found

    found = {waiting: alarm(waiting) for waiting in ("", *names)}

    identities = {(each.rule, each.flow, each.queue, each.subject) for each in found.values()}
    assert len(identities) == 1
    assert "the queue parcels, bound to it" in found["parcels"].sentence

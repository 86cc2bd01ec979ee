"""What happens in each minute is counted, exactly where that is promised."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from django.utils import timezone

from flows import engine
from flows.models import CountBlock, DeadLetter, FlowTotals
from flows.monitoring import histogram
from flows.monitoring.curves import HOURS, MINUTES, RESOLUTIONS, TEN_MINUTES, curves
from flows.tasks import counting
from flows.tasks.counting import count, purge_counts
from flows.tasks.measures import MeasureChannel, Measured, no_measures
from flows.tasks.retention import purge
from flows.worker.measuring import Measuring
from flows.worker.this_worker import this_worker
from tests.builders import ECHO, RAISING, make_flow, run_of, work_until_idle
from tests.integration.at_once import at_once, until_not_locked

NOON = datetime(2031, 3, 2, 12, 0, 30, tzinfo=UTC)
REJECT = "def run(message, context):\n    raise Reject('no')\n"


def events(flow="flow", step="", slot_seconds=60):
    """Return the sums of a flow's events over all its blocks of a resolution."""
    sums: Counter[str] = Counter()
    for block in CountBlock.objects.filter(
        flow_name=flow, step_name=step, slot_seconds=slot_seconds
    ):
        sums.update({event: sum(each) for event, each in orjson.loads(block.counts).items()})
    return +sums


def start(times=1, flow="flow"):
    return [engine.start(flow, {}).correlation_id for _ in range(times)]


class Killed(BaseException):
    """Ends a cluster in mid-count."""


@pytest.mark.django_db
def test_what_the_totals_have_grown_by_counts_once():
    flow = make_flow(codes=[ECHO])
    start(3)
    count(now=NOON)
    work_until_idle(flow)
    start(2)

    for seconds in (60, 65, 70):
        count(now=NOON + timedelta(seconds=seconds))

    assert events() == {"accepted": 5, "completed": 3}
    block = CountBlock.objects.get(slot_seconds=60)
    assert orjson.loads(block.counts) == {"accepted": [3, 2], "completed": [0, 3]}


@pytest.mark.django_db
def test_a_cluster_that_dies_in_mid_count_loses_and_doubles_nothing(monkeypatch):
    make_flow()
    start(3)

    def die(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(counting, "_add_to_blocks", die)
        with pytest.raises(Killed):
            count(now=NOON)
    start(2)
    count(now=NOON + timedelta(minutes=1))

    assert events() == {"accepted": 5}


@pytest.mark.django_db(transaction=True)
def test_starts_and_counts_at_the_same_time_add_up():
    make_flow(size=1000)
    begun_at = timezone.now()

    def start_some():
        for _ in range(15):
            until_not_locked(start)

    def count_some():
        for number in range(15):
            until_not_locked(lambda at=number: count(now=begun_at + timedelta(seconds=5 * at)))

    at_once([start_some, start_some, count_some] * 2)
    count(now=begun_at + timedelta(minutes=5))

    assert events() == {"accepted": 60}
    assert FlowTotals.objects.get().accepted == 60


@pytest.mark.django_db
def test_a_purge_is_no_event():
    flow = make_flow(codes=[ECHO])
    start(3)
    work_until_idle(flow)
    count(now=NOON)

    assert purge(timezone.now() + timedelta(days=40)) == 3
    start(1)
    count(now=NOON + timedelta(minutes=1))

    assert FlowTotals.objects.get().accepted == 1
    assert events() == {"accepted": 4, "completed": 3}


@pytest.mark.django_db
def test_a_failed_run_that_is_reprocessed_has_failed_all_the_same():
    flow = make_flow(codes=[REJECT])
    start(2)
    work_until_idle(flow)
    assert FlowTotals.objects.get().open_letters == 2
    for letter in DeadLetter.objects.open():
        engine.reprocess(letter)
    work_until_idle(flow)
    engine.discard(DeadLetter.objects.open()[0])

    count(now=NOON)

    assert events() == {"accepted": 2, "failed": 4, "letters": 4}
    assert FlowTotals.objects.get().open_letters == DeadLetter.objects.open().count()


@pytest.mark.django_db
def test_a_cancelled_run_takes_its_open_dead_letters_with_it():
    split = "def run(message, context):\n    return [{'payload': n} for n in range(3)]\n"
    odd = "def run(message, context):\n    if message['payload']:\n        raise Reject('no')\n"
    flow = make_flow(codes=[split, odd + "    raise Retry(60, 'wait')\n"])
    [run] = start(1)
    work_until_idle(flow)
    assert FlowTotals.objects.get().open_letters == 2

    engine.cancel(run_of(run))

    totals = FlowTotals.objects.get()
    assert (totals.open_letters, totals.failed, totals.reopened) == (0, 0, 1)


@pytest.mark.django_db
def test_every_resolution_has_the_same_sums_and_each_event_its_slot():
    make_flow(size=1000)
    for hours in range(0, 30, 3):
        start(2)
        count(now=NOON + timedelta(hours=hours, minutes=hours))

    sums = [events(slot_seconds=each.slot_seconds) for each in RESOLUTIONS]

    assert sums == [{"accepted": 20}] * 3
    blocks = [CountBlock.objects.filter(slot_seconds=r.slot_seconds).count() for r in RESOLUTIONS]
    assert blocks == [10, 2, 1]
    week = CountBlock.objects.get(slot_seconds=HOURS.slot_seconds)
    place = HOURS.place(NOON + timedelta(hours=3, minutes=3))[1]
    assert orjson.loads(week.counts)["accepted"][place] == 2


@pytest.mark.django_db
def test_blocks_are_kept_as_long_as_pages_need_them():
    make_flow()
    start(1)
    count(now=NOON)

    # One is never ended.
    for days, left in ((1, 4), (3, 3), (12, 2), (50, 1)):
        while purge_counts(NOON + timedelta(days=days), 10):
            pass
        assert CountBlock.objects.count() == left


@pytest.mark.django_db
def test_measures_of_workers_come_to_the_blocks_of_their_steps(monkeypatch):
    channel, measures = MeasureChannel(), no_measures()
    monkeypatch.setattr(this_worker, "measuring", Measuring(channel))
    flow = make_flow(codes=[ECHO, RAISING], max_deliveries=1)
    start(4)

    work_until_idle(flow)
    channel.receive(measures)
    count(measures, now=NOON)
    count(measures, now=NOON + timedelta(minutes=1))
    channel.shut()

    assert events(step="flow-0") == {"completed": 8}
    assert events(step="flow-1") == {"letters": 8}
    runs = CountBlock.objects.get(step_name="", slot_seconds=TEN_MINUTES.slot_seconds)
    assert histogram.read(runs.durations).total() == 8
    assert events() == {"accepted": 4, "failed": 4, "letters": 4}


def test_what_a_full_channel_does_not_take_is_sent_later():
    channel, sent, received = MeasureChannel(), no_measures(), no_measures()
    for number in range(5000):
        sent[f"flow-{number}", ""].add(Measured({"completed": 1}))

    channel.send(sent)
    assert sent
    while sent:
        channel.receive(received)
        channel.send(sent)
    channel.receive(received)
    channel.shut()

    assert len(received) == 5000
    assert sum(measured.events["completed"] for measured in received.values()) == 5000


def test_a_time_has_its_place_in_a_block():
    begins_at, slot = MINUTES.place(NOON)

    assert (begins_at, slot) == (NOON.replace(second=0), 0)
    assert MINUTES.place(NOON + timedelta(minutes=59))[1] == 59


@pytest.mark.django_db
def test_a_curve_ends_with_now_and_goes_on_over_two_blocks():
    make_flow(size=1000)
    at = NOON.replace(minute=58)
    for minute in range(4):
        start(minute + 1)
        count(now=at + timedelta(minutes=minute))

    curve = curves(MINUTES, at + timedelta(minutes=5))["flow", ""]
    old = curves(MINUTES, at + timedelta(minutes=62))["flow", ""]
    gone = curves(MINUTES, at + timedelta(hours=3))["flow", ""]

    assert curve.of("accepted") == [0] * 54 + [1, 2, 3, 4, 0, 0]
    assert (curve.total("accepted"), curve.total("accepted", 4)) == (10, 7)
    assert old.of("accepted") == [4] + [0] * 59
    assert gone.of("accepted") == [0] * 60

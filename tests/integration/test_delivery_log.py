"""The log and the measures tell what a commit has decided, not what a script alone came to."""

from collections import Counter

import pytest

from flows import engine
from flows.models import DeadLetter, Flow, Queue, StepRun
from flows.monitoring.counters import DELIVERIES, labels_of, named
from tests.builders import ECHO, make_callable, make_flow, work_until_idle

pytestmark = pytest.mark.django_db(transaction=True)

RECORD = "tests.callables.record"
SPLIT = "def run(message, context):\n    return [message] * 4\n"


@pytest.fixture
def deliveries(measured_here):
    """Return what counts the deliveries of this process that were measured, by how they ended."""
    return lambda: Counter(
        {
            name: count
            for measured in measured_here().values()
            for name, count in measured.sums.items()
            if labels_of(name)[0] == DELIVERIES
        }
    )


def exhaust():
    make_flow(codes=[RECORD], max_deliveries=1)
    make_callable(RECORD, in_transaction=True)
    engine.start("flow", {"do": "raise"})


def fan_out_too_far():
    make_flow(codes=[SPLIT, ECHO])
    Queue.objects.filter(name="flow-1").update(size=3)
    engine.start("flow", {})


def reject_in_transaction():
    make_flow(codes=[RECORD])
    make_callable(RECORD, in_transaction=True)
    engine.start("flow", {"do": "reject"})


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (exhaust, DeadLetter.Reason.EXHAUSTED),
        (reject_in_transaction, DeadLetter.Reason.REJECTED),
        (fan_out_too_far, DeadLetter.Reason.TOO_MANY),
    ],
)
def test_each_dead_letter_is_logged_and_counted_as_one(start, reason, settings, caplog, deliveries):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.callables"]
    caplog.set_level("INFO", "flows.worker.delivery_log")
    start()

    work_until_idle(Flow.objects.get())

    letter = DeadLetter.objects.get()
    assert letter.reason == reason
    # The row of the attempt was made before the commit decided.
    assert StepRun.objects.get().error == letter.error
    [line] = [each for each in caplog.records if each.name == "flows.worker.delivery_log"]
    assert line.getMessage() == f"delivery ended: dead_lettered, {reason}"
    assert deliveries() == {named(DELIVERIES, "dead_lettered", str(reason)): 1}

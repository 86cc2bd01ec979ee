"""The error class of a dead letter: stored with it, and filled in for those of before."""

from __future__ import annotations

import pytest

from flows import engine
from flows.models import DeadLetter
from flows.tasks.error_classes import BATCH, fill_some_error_classes
from tests.builders import make_flow, work_until_idle

pytestmark = pytest.mark.django_db

RAISING = "def run(message, context):\n    raise Reject(f\"no {message['payload']['n']}\")\n"


@pytest.fixture
def letters():
    flow = make_flow(codes=[RAISING])
    engine.start_many(flow.name, [{"n": n} for n in range(3)])
    work_until_idle(flow)
    return DeadLetter.objects.open()


def test_messages_that_die_of_one_error_have_one_class(letters):
    classes = set(letters.values_list("error_class", flat=True))

    assert len(classes) == 1
    assert "<number>" in classes.pop()


def test_those_of_earlier_versions_are_filled_in_once(letters):
    known = letters.first().error_class
    letters.update(error_class=None)

    assert fill_some_error_classes() == min(3, BATCH)
    assert fill_some_error_classes() == 0
    assert set(letters.values_list("error_class", flat=True)) == {known}

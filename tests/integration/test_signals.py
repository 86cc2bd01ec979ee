"""What a Django project is told of runs: after the commit, and harming nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction

from flows import public
from flows.models import DeadLetter, Run
from tests.builders import ECHO, make_flow, work_until_idle

pytestmark = pytest.mark.django_db(transaction=True)

REJECT = "def run(message, context):\n    raise Reject('no')\n"
SPLIT = "def run(message, context):\n    return [message, message]\n"
REJECT_SECOND = (
    "def run(message, context):\n"
    "    if context.delivery_id.endswith('1'):\n"
    "        raise Reject('no')\n"
    "    return message\n"
)


@contextmanager
def heard(signal: Any) -> Iterator[list[dict]]:
    """Collect what is sent, without what Django adds, and whether it was sent in a transaction."""
    received: list[dict] = []

    def receive(sender: Any, signal: Any, **values: Any) -> None:
        assert not connection.in_atomic_block
        received.append(values)

    signal.connect(receive)
    try:
        yield received
    finally:
        signal.disconnect(receive)


def test_the_end_of_a_run_is_told_once_with_its_status():
    flows = {name: make_flow(name, [code]) for name, code in (("good", ECHO), ("bad", REJECT))}

    with heard(public.run_finished) as ends:
        runs = {name: public.start(name, {}) for name in flows}
        for flow in flows.values():
            work_until_idle(flow)

    assert ends == [
        {"correlation_id": runs["good"], "flow_name": "good", "status": "COMPLETED"},
        {"correlation_id": runs["bad"], "flow_name": "bad", "status": "FAILED"},
    ]


@pytest.mark.parametrize(
    ("last", "status"), [(ECHO, "COMPLETED"), (REJECT, "FAILED"), (REJECT_SECOND, "FAILED")]
)
def test_a_run_with_branches_ends_once(last, status):
    flow = make_flow("split", [SPLIT, last])

    with heard(public.run_finished) as ends:
        run = public.start("split", {})
        work_until_idle(flow)

    assert ends == [{"correlation_id": run, "flow_name": "split", "status": status}]
    assert public.status(run) == status


def test_a_dead_letter_is_told_with_its_step_and_reason():
    flow = make_flow("bad", [ECHO, REJECT])

    with heard(public.dead_letter_made) as letters:
        run = public.start("bad", {})
        work_until_idle(flow)

    assert letters == [
        {
            "dead_letter_id": DeadLetter.objects.get().pk,
            "correlation_id": run,
            "flow_name": "bad",
            "step_name": "bad-1",
            "reason": "rejected",
        }
    ]


def test_a_cancel_is_told_after_the_commit_of_the_caller_and_not_where_it_is_taken_back():
    make_flow("flow")
    runs = [public.start("flow", {}) for _ in range(2)]

    with heard(public.run_finished) as ends:
        with transaction.atomic():
            public.cancel(runs[0])
            told_within = list(ends)
        with transaction.atomic():
            public.cancel(runs[1])
            transaction.set_rollback(True)

    assert told_within == []
    assert ends == [{"correlation_id": runs[0], "flow_name": "flow", "status": "CANCELLED"}]


def test_a_receiver_that_raises_harms_neither_the_run_nor_other_receivers(caplog):
    flow = make_flow("good", [ECHO])

    def raising(**values: Any) -> None:
        raise ValueError("a broken receiver")

    public.run_finished.connect(raising)
    try:
        with heard(public.run_finished) as ends:
            runs = public.start_many("good", [{}, {}])
            work_until_idle(flow)
    finally:
        public.run_finished.disconnect(raising)

    assert {end["correlation_id"] for end in ends} == set(runs)
    assert set(Run.objects.values_list("status", flat=True)) == {"COMPLETED"}
    assert "a broken receiver" in caplog.text

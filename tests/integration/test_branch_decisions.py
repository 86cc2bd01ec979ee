"""Branches that end, die and are decided about in any order, held against a pure model."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from django.db import transaction
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from flows import engine
from flows.errors import QueueFull
from flows.models import (
    BranchEnd,
    DeadLetter,
    Flow,
    Message,
    Queue,
    QueueState,
    Run,
    Step,
)
from flows.monitoring.conservation import check
from flows.plan import StepPlan, step_plan
from flows.store import DeliveryResult, HeldMessage, Lease, store
from flows.tasks.retention import purge
from flows.worker.redelivery import ACCEPTED, in_commit, rejected
from flows.worker.results import pending_outputs_of
from tests.branch_model import Letter, ModelRun
from tests.builders import make_flow, run_of
from tests.examples import examples

pytestmark = pytest.mark.django_db

numbers = itertools.count()


@dataclass
class World:
    """A flow with runs, worked on delivery by delivery without script hosts."""

    flow: Flow
    joins: list[bool]
    random: Random
    models: dict[str, ModelRun] = field(default_factory=dict)

    def start(self) -> None:
        started = engine.start(self.flow.name, {"id": next(numbers)})
        payload = json.loads(Message.objects.get(pk=started.correlation_id).body)["payload"]
        self.models[str(started.correlation_id)] = ModelRun(self.joins, {"": (0, payload)})

    def model_of(self, held: HeldMessage) -> ModelRun:
        return self.models[held.correlation_id]

    def letters(self) -> list[DeadLetter]:
        return list(DeadLetter.objects.open().order_by("pk"))

    def letter_of(self, letter: DeadLetter) -> Letter:
        model = self.models[str(letter.run_id)]
        return next(each for each in model.open_letters if each.branch == letter.branch)

    # --- what may happen -------------------------------------------------------------------

    def deliver(self, fails: bool = True) -> bool:
        """Deliver a batch at some queue; false where no message is ready."""
        queues = sorted({m.queue_id or 0 for m in Message.objects.filter(queue__isnull=False)})
        for queue_id in self.random.sample(queues, len(queues)):
            consumer_id = store().open_consumer(queue_id, 4, "cluster", "machine")
            assert consumer_id is not None
            lease = store().begin(consumer_id, 1)
            taken = store().claim(lease, self.batch)
            if taken:
                self._go_on(lease, taken, fails)
                return True
        return False

    def batch(self, plan: StepPlan, threads: int) -> int:
        return self.random.randint(1, 3)

    def _go_on(self, lease: Lease, taken: list[HeldMessage], fails: bool) -> None:
        while taken:
            done = [self._delivered(held, fails) for held in taken]
            carries = self.random.random() < 0.5
            taken = store().commit(lease, done, in_commit, self.batch, claim=carries)
        if not lease.closed:
            store().close(lease)

    def _delivered(self, held: HeldMessage, fails: bool) -> DeliveryResult:
        if held.pending_outputs:
            return pending_outputs_of(held)
        model, now = self.model_of(held), time.time()
        position = step_plan(held.step_id).position
        assert model.live[held.branch] == (position, json.loads(held.body)["payload"])
        done = DeliveryResult(held, ACCEPTED, now, now)
        is_last = step_plan(held.step_id).next_step_id is None
        happens = self.random.choice(["passes", "fans out", "rejects"])
        if happens == "rejects" and fails:
            done.decision = rejected("no", DeadLetter.Reason.REJECTED)
            model.rejected(held.branch)
        elif happens == "fans out" and not is_last and held.branch.count(".") < 2:
            payloads = [{"id": next(numbers)} for _ in range(self.random.randint(0, 3))]
            done.branches = [self._envelope(held, payload) for payload in payloads]
            done.output = f"[{','.join(done.branches)}]"
            model.fanned_out(held.branch, payloads)
        else:
            payload = {"id": next(numbers)}
            done.output = json.dumps(payload) if is_last else self._envelope(held, payload)
            model.passed(held.branch, payload)
        return done

    def _envelope(self, held: HeldMessage, payload: Any) -> str:
        return json.dumps({"correlationId": held.correlation_id, "payload": payload})

    def reprocess(self, letter: DeadLetter) -> bool:
        try:
            engine.reprocess(letter)
        except QueueFull:
            return False
        self.models[str(letter.run_id)].requeued(self.letter_of(letter))
        return True

    def discard(self, letter: DeadLetter) -> bool:
        try:
            engine.discard(letter)
        except QueueFull:
            return False
        self.models[str(letter.run_id)].discarded(self.letter_of(letter))
        return True

    def cancel(self) -> None:
        run_id = self.random.choice(sorted(self.models))
        engine.cancel(run_of(run_id))
        self.models[run_id].cancelled()

    def hurry(self) -> None:
        now = store().database.now()
        Message.objects.filter(available_at__gt=now).update(available_at=now)

    def act(self) -> None:
        """Do one of it, chosen at random."""
        verbs = ["deliver", "requeue", "discard", "cancel"]
        [happens] = self.random.choices(verbs, [8, 3, 3, 1])
        letters = self.letters()
        if happens == "cancel":
            self.cancel()
        elif happens == "deliver" or not letters:
            self.hurry()
            self.deliver()
        elif happens == "requeue":
            self.reprocess(self.random.choice(letters))
        else:
            self.discard(self.random.choice(letters))

    # --- what must hold --------------------------------------------------------------------

    def check(self) -> None:
        self.check_runs_and_bounds()
        assert [fault for checked in check() for fault in checked.faults()] == []

    def check_runs_and_bounds(self) -> None:
        for state in QueueState.objects.select_related("queue"):
            assert state.depth + state.reserved <= state.queue.size
        for run_id, model in self.models.items():
            run = run_of(run_id)
            status = "RUNNING" if run.status == "QUEUED" else run.status
            assert status == model.status, (run_id, run.status, model)
            if model.is_completed:
                assert json.loads(run.result or "") == model.result

    def rest(self) -> None:
        """Come to an end: no branch fails any more, and every dead letter is decided."""
        for _ in range(500):
            self.hurry()
            if self.deliver(fails=False):
                continue
            letters = self.letters()
            if not letters:
                break
            decide = self.random.choice([self.reprocess, self.discard])
            assert decide(letters[0]), "the queues are empty"
        assert all(model.has_ended for model in self.models.values())
        assert not Message.objects.exists()
        assert not BranchEnd.objects.exists()


def world(joins: list[bool], sizes: list[int], random: Random) -> World:
    name = f"flow{next(numbers)}"
    flow = make_flow(name, codes=["def run(message, context):\n    return message\n"] * len(joins))
    for position, (join, size) in enumerate(zip(joins, sizes, strict=True)):
        Step.objects.filter(name=f"{name}-{position}").update(join=join)
        Queue.objects.filter(name=f"{name}-{position}").update(size=size)
    return World(flow, joins, random)


# What happens is drawn from the seed, which shrinks to nothing simpler.
@settings(max_examples=examples(8), phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    joins=st.lists(st.booleans(), min_size=1, max_size=4),
    size=st.integers(3, 5),
    runs=st.integers(1, 2),
    actions=st.integers(3, 20),
    seed=st.integers(0, 2**32),
)
def test_a_run_becomes_what_was_decided_about_its_branches_in_whatever_order(
    joins, size, runs, actions, seed
):
    random = Random(seed)
    with transaction.atomic():
        it = world([False, *joins], [size] * (len(joins) + 1), random)
        for _ in range(runs):
            it.start()

        for _ in range(actions):
            it.act()
            it.check_runs_and_bounds()

        it.rest()
        it.check()
        purge(store().database.now() + timedelta(days=400))
        assert not Run.objects.exists()
        transaction.set_rollback(True)

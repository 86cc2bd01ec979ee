"""What a commit does for runs that fan out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from flows.encryption.payload_keys import encrypt
from flows.models import Run
from flows.plan import StepPlan, flow_name_of
from flows.signals import announce_end
from flows.store import sql
from flows.store.counters import Counters
from flows.store.database import sql_time
from flows.store.run_end import Gathered, RunEnd
from flows.store.telling import End, flow_id_of
from flows.store.totals import FlowTotalsChanges
from flows.store.types import DeliveryResult, HeldMessage, QueueCounters

# How often a run whose branches have all ended looks for room in the queue of the join.
LOOK_FOR_ROOM = timedelta(milliseconds=200)


class Branches:
    """What a commit does for runs that fan out: the list a step gave goes on as branches.

    Each is a message of its own. They end after the last step, or at a join; when the last has
    ended, the run completes with the list of all outputs, or goes on as one message with all
    payloads.
    """

    def __init__(
        self, counters: Counters, queues: dict[int, QueueCounters], queue_id: int, now: datetime
    ) -> None:
        """`queues`: those that the commit has locked; `queue_id`: where its messages were."""
        self.database = counters.database
        self.queues = queues
        self.queue_id = queue_id
        self.now = now
        self.end_of_run = RunEnd(counters, queues, now)
        # The runs that fail with a dead branch.
        self.failed: list[End] = []
        self._left: list[HeldMessage] = []
        self._ends: list[tuple[HeldMessage, str, str]] = []
        self._children: list[dict[str, Any]] = []
        self._pending: list[tuple[HeldMessage, str, timedelta]] = []
        self._kept_rooms: Counter[int] = Counter()
        self._changes: Counter[str] = Counter()
        self._urgencies: dict[str, tuple[int, bool]] = {}

    @property
    def totals(self) -> FlowTotalsChanges:
        """What the totals of flows change by, up to now."""
        return self.end_of_run.totals

    def fan_out(self, done: DeliveryResult, plan: StepPlan) -> None:
        """Send each envelope of a list on; what finds no room stays at its step for later."""
        held = done.held
        self._look_up_urgency(held)
        first, outputs = done.first_branch, done.branches or []
        room = self.queues[plan.next_queue_id].room
        going = outputs if plan.next_joins else outputs[:room]
        for number, body in enumerate(going, first):
            branch = name_of_branch(held, number)
            if plan.next_joins:
                self._ends.append((held, branch, body))
            else:
                self._send(held, plan, branch, body)
        self._changes[held.run_id] += len(going)
        if rest := outputs[len(going) :]:
            place = place_of_outputs(first + len(going), done.goes_to)
            self._keep_pending(held, f"[{place},{','.join(rest)}]")
        else:
            self._leave(held, plan)
            self._changes[held.run_id] -= 1

    def end(self, held: HeldMessage, plan: StepPlan, output: str) -> None:
        """End a branch with its output: after the last step, or at a join."""
        self._look_up_urgency(held)
        self._ends.append((held, held.branch, output))
        self._leave(held, plan)

    def dead_rest(self, done: DeliveryResult, plan: StepPlan) -> list[DeliveryResult]:
        """Return each output that found no room as one that dies at the next step."""
        held = done.held
        self._look_up_urgency(held)
        dead = []
        for number, body in enumerate(done.branches or [], done.first_branch):
            branch = name_of_branch(held, number)
            child = HeldMessage(held.id, held.run_id, plan.next_step_id or 0, body, 0, branch)
            dead.append(replace(done, held=child))
            self._changes[held.run_id] += 1
        self._leave(held, plan)
        self._changes[held.run_id] -= 1
        return dead

    def write(self, dead: Sequence[DeliveryResult]) -> None:
        """Write all of it. `dead`: the deliveries of the commit that become dead letters."""
        each, at = self.database.each, sql_time(self.now)
        each(sql.INSERT_MESSAGE, [child | {"available_at": at} for child in self._children])
        ends = [
            {"id": held.run_id, "branch": name, "body": text} for held, name, text in self._ends
        ]
        each(sql.END_BRANCH, ends)
        for held, _, _ in self._ends:
            self._changes[held.run_id] -= 1
        for queue_id, count in self._kept_rooms.items():
            self.queues[queue_id].reserved_change -= count
        gathered = self._count_in_runs(dead, at)
        each(sql.DELETE_MESSAGE, [{"id": held.id} for held in self._left])
        for held, body, delay in self._pending:
            later = sql_time(self.now + delay)
            kept = [encrypt(body), self.queue_id, later, held.id]
            self.database.write(sql.KEEP_PENDING_OUTPUTS, kept)
        for run in gathered:
            self.end_of_run.reach(run)
        if self._children or self._pending:
            self.database.wake()

    def _leave(self, held: HeldMessage, plan: StepPlan) -> None:
        """Take a message out. The room that was kept for it at a join stays for the joined one."""
        self._left.append(held)
        if plan.next_joins and plan.next_queue_id in self.queues:
            self._kept_rooms[plan.next_queue_id] += 1
            self.queues[plan.next_queue_id].reserved_change += 1

    def _send(self, held: HeldMessage, plan: StepPlan, branch: str, body: str) -> None:
        priority, bypasses_pause = self._urgencies[held.run_id]
        self.queues[plan.next_queue_id].depth_change += 1
        self._children.append(
            {
                "id": uuid7().hex,
                "run_id": held.run_id,
                "step_id": plan.next_step_id,
                "queue_id": plan.next_queue_id,
                "body": body,
                "priority": priority,
                "bypasses_pause": bool(bypasses_pause),
                "delayed": False,
                "branch": branch,
            }
        )

    def _look_up_urgency(self, held: HeldMessage) -> None:
        """Branches, and the message they are joined to, are as urgent as what they came from."""
        if held.run_id not in self._urgencies:
            self._urgencies[held.run_id] = self.database.query(sql.URGENCY, [held.id])[0]

    def wait_for_starts(self, done: DeliveryResult, body: str) -> None:
        """Let a message wait at its step, which is done, until the runs that it starts have room.

        The room that was reserved behind the step is given back; it is claimed with it.
        """
        self._keep_pending(done.held, body, LOOK_FOR_ROOM)

    def _keep_pending(self, held: HeldMessage, body: str, delay: timedelta = timedelta(0)) -> None:
        self.queues[self.queue_id].depth_change += 1
        self._pending.append((held, body, delay))

    # --- the runs --------------------------------------------------------------------------

    def _count_in_runs(self, results: Sequence[DeliveryResult], at: str) -> list[Gathered]:
        """Lock the runs in the order of their ids, count what has changed in each, and fail those
        with dead branches. Return those whose branches have all ended.
        """
        branches = [each for each in results if each.held.branch]
        dead = {each.held.run_id: each.decision.error for each in reversed(branches)}
        gathered = []
        for run_id in sorted({*self._changes, *dead}):
            if run_id in dead:
                self._fail(run_id, dead[run_id], at)
            if run_id in self._changes and (run := self._count(run_id)):
                gathered.append(run)
        return gathered

    def _fail(self, run_id: str, error: str, at: str) -> None:
        """A run fails once, however many of its branches do."""
        for (version_id,) in self.database.query(
            sql.FAIL_RUN_OF_BRANCH, [encrypt(error), at, run_id]
        ):
            self.totals[flow_name_of(version_id)].failed += 1
            self.failed.append(End(run_id, flow_id_of(version_id), Run.Status.FAILED))
            announce_end(run_id, flow_name_of(version_id), Run.Status.FAILED)

    def _count(self, run_id: str) -> Gathered | None:
        for count, status, version_id in self.database.query(
            sql.COUNT_BRANCHES, [self._changes[run_id], run_id]
        ):
            if count:
                continue
            last = next(held for held in self._left if held.run_id == run_id)
            urgency = self._urgencies[run_id]
            run = Gathered(UUID(run_id), status, version_id, last.step_id, *urgency)
            if self.end_of_run.take_room(run):
                return run
            self._wait_for_room(last)
        return None

    def _wait_for_room(self, last: HeldMessage) -> None:
        """Let the last message of a run wait at its step, which is done, without an output."""
        self._left = [held for held in self._left if held is not last]
        self._keep_pending(last, "[0]", LOOK_FOR_ROOM)
        self.database.query(sql.COUNT_BRANCHES, [1, last.run_id])


def place_of_outputs(first: int, goes_to: int) -> str:
    """Write the number of the first output that is left, and the step that all go to."""
    return f"[{first},{goes_to}]" if goes_to else str(first)


def name_of_branch(held: HeldMessage, number: int) -> str:
    """Return the name of a branch: the numbers of all fan-outs on its way, so that names sort."""
    return f"{held.branch}.{number:06}".lstrip(".")

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from uuid_utils.compat import uuid7

from flows.models import DeadLetter, Run
from flows.plan import StepPlan, flow_name_of
from flows.signals import announce_end
from flows.store import sql
from flows.store.database import moment
from flows.store.run_end import FAILED, Gathered, RunEnd
from flows.store.work import Done, Fate, Held

if TYPE_CHECKING:
    from flows.store.commit import Commit

# How often a run whose branches have all ended looks for room in the queue of the join.
LOOK_FOR_ROOM = timedelta(milliseconds=200)

# A branch is named by the number it has at each fan-out that led to it. An index of PostgreSQL
# takes names of up to 2,700 characters.
MAX_FAN_OUTS = 200


class Branches:
    """What a commit does for runs that fan out: the list a step gave goes on as branches.

    Each is a message of its own. They end after the last step, or at a join; when the last has
    ended, the run completes with the list of all outputs, or goes on as one message with all
    payloads.
    """

    def __init__(self, commit: Commit) -> None:
        self.commit = commit
        self.end_of_run = RunEnd(commit.ledger, commit.counters, commit.now)
        self._left: list[Held] = []
        self._ends: list[tuple[Held, str, str]] = []
        self._children: list[dict[str, Any]] = []
        self._spills: list[tuple[Held, str, timedelta]] = []
        self._kept_rooms: Counter[int] = Counter()
        self._changes: Counter[str] = Counter()
        self._urgencies: dict[str, tuple[int, bool]] = {}

    @property
    def entries(self) -> list[tuple[str, int]]:
        return self.end_of_run.entries

    def fan_out(self, done: Done, plan: StepPlan) -> None:
        """Send each envelope of a list on; what finds no room stays at its step for later."""
        held = done.held
        self._look_up_urgency(held)
        first, outputs = done.first_branch, done.branches or []
        queue = self.commit.counters[plan.next_queue_id]
        if fault := fault_of_fan_out(held, len(outputs), queue.size):
            self._refuse(done, fault)
            return
        going = outputs if plan.next_joins else outputs[: queue.room]
        for number, body in enumerate(going, first):
            branch = name_of_branch(held, number)
            if plan.next_joins:
                self._ends.append((held, branch, body))
            else:
                self._send(held, plan, branch, body)
        self._changes[held.run_id] += len(going)
        if rest := outputs[len(going) :]:
            self._spill(held, f"[{first + len(going)},{','.join(rest)}]")
        else:
            self._leave(held, plan)
            self._changes[held.run_id] -= 1

    def end(self, held: Held, plan: StepPlan, output: str) -> None:
        self._look_up_urgency(held)
        self._ends.append((held, held.branch, output))
        self._leave(held, plan)

    def bury_rest(self, done: Done, plan: StepPlan) -> None:
        """Bury each output that found no room, at the next step, whose queue is gone."""
        held = done.held
        self._look_up_urgency(held)
        for number, body in enumerate(done.branches or [], done.first_branch):
            branch = name_of_branch(held, number)
            child = Held(held.id, held.run_id, plan.next_step_id or 0, body, 0, branch)
            self.commit.buried.append(replace(done, held=child, fate=Fate.BURIED))
            self._changes[held.run_id] += 1
        self._leave(held, plan)
        self._changes[held.run_id] -= 1

    def write(self) -> None:
        each, at = self.commit.database.each, moment(self.commit.now)
        each(sql.INSERT_MESSAGE, [child | {"available_at": at} for child in self._children])
        ends = [
            {"id": held.run_id, "branch": name, "body": text} for held, name, text in self._ends
        ]
        each(sql.END_BRANCH, ends)
        for held, _, _ in self._ends:
            self._changes[held.run_id] -= 1
        for queue_id, count in self._kept_rooms.items():
            self.commit.counters[queue_id].reserved_change -= count
        gathered = self._count_in_runs(at)
        each(sql.DELETE_MESSAGE, [{"id": held.id} for held in self._left])
        for held, body, delay in self._spills:
            later = moment(self.commit.now + delay)
            self.commit.database.change(sql.SPILL, [body, self.commit.was_at, later, held.id])
        for run in gathered:
            self.end_of_run.reach(run)
        if self._children or self._spills:
            self.commit.database.wake()

    def _leave(self, held: Held, plan: StepPlan) -> None:
        """Take a message out. The room that was kept for it at a join stays for the joined one."""
        self._left.append(held)
        if plan.next_joins and plan.next_queue_id in self.commit.counters:
            self._kept_rooms[plan.next_queue_id] += 1
            self.commit.counters[plan.next_queue_id].reserved_change += 1

    def _send(self, held: Held, plan: StepPlan, branch: str, body: str) -> None:
        priority, let_through = self._urgencies[held.run_id]
        self.commit.counters[plan.next_queue_id].depth_change += 1
        self._children.append(
            {
                "id": uuid7().hex,
                "run_id": held.run_id,
                "step_id": plan.next_step_id,
                "queue_id": plan.next_queue_id,
                "body": body,
                "priority": priority,
                "yes_or_no": bool(let_through),
                "delayed": False,
                "branch": branch,
            }
        )

    def _look_up_urgency(self, held: Held) -> None:
        """Branches, and the message they are joined to, are as urgent as what they came from."""
        if held.run_id not in self._urgencies:
            self._urgencies[held.run_id] = self.commit.database.query(sql.URGENCY, [held.id])[0]

    def _spill(self, held: Held, body: str, delay: timedelta = timedelta(0)) -> None:
        self.commit.counters[self.commit.was_at].depth_change += 1
        self._spills.append((held, body, delay))

    def _refuse(self, done: Done, error: str) -> None:
        done.fate, done.reason, done.error = Fate.BURIED, DeadLetter.Reason.TOO_MANY.value, error
        self.commit.buried.append(done)

    # --- the runs --------------------------------------------------------------------------

    def _count_in_runs(self, at: str) -> list[Gathered]:
        """Lock the runs in the order of their ids, count what has changed in each, and fail those
        with dead branches. Return those of which no branch can arrive any more.
        """
        buried = [done for done in self.commit.buried if done.held.branch]
        dead = {done.held.run_id: done.error for done in reversed(buried)}
        gathered = []
        for run_id in sorted({*self._changes, *dead}):
            if run_id in dead:
                self._fail(run_id, dead[run_id], at)
            if run_id in self._changes and (run := self._count(run_id)):
                gathered.append(run)
        return gathered

    def _fail(self, run_id: str, error: str, at: str) -> None:
        """A run fails once, however many of its branches do."""
        for (version_id,) in self.commit.database.query(
            sql.FAIL_RUN_OF_BRANCH, [error, at, run_id]
        ):
            self.entries.append((flow_name_of(version_id), FAILED))
            announce_end(run_id, flow_name_of(version_id), Run.Status.FAILED)

    def _count(self, run_id: str) -> Gathered | None:
        database = self.commit.database
        for count, status, version_id in database.query(
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

    def _wait_for_room(self, last: Held) -> None:
        """Let the last message of a run wait at its step, which is done, without an output."""
        self._left = [held for held in self._left if held is not last]
        self._spill(last, "[0]", LOOK_FOR_ROOM)
        self.commit.database.query(sql.COUNT_BRANCHES, [1, last.run_id])


def name_of_branch(held: Held, number: int) -> str:
    return f"{held.branch}.{number:06}".lstrip(".")


def fault_of_fan_out(held: Held, count: int, size: int) -> str | None:
    # What waits for room already goes on as room comes, though the queue be smaller now.
    if held.spilled:
        return None
    if count > size:
        return f"It returned {count} messages, the next queue holds {size}."
    if held.branch.count(".") + 1 >= MAX_FAN_OUTS:
        return f"It has fanned out {MAX_FAN_OUTS} times already; that is the most."
    return None

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from uuid_utils.compat import uuid7

from flows.models import DeadLetter
from flows.plan import StepPlan, step_plan
from flows.store import sql
from flows.store.sizes import fault_of_ends, fault_of_text
from flows.store.work import Done, Fate, Held
from scripts.json_text import member_of

if TYPE_CHECKING:
    from flows.store.commit import Commit

COMPLETED, FAILED = 1, 2

# A branch is named by the number it has at each fan-out that led to it. An index of PostgreSQL
# takes names of up to 2,700 characters.
MAX_FAN_OUTS = 200


class Branches:
    """What a commit does for runs that fan out: the list a step gave goes on as branches.

    Each is a message of its own. They end after the last step, or at a join; the last to end
    completes the run with the list of all outputs, or goes on as one message with all payloads.
    """

    def __init__(self, commit: Commit) -> None:
        self.commit = commit
        self.left: list[Held] = []
        self.entries: list[tuple[str, int]] = []
        self._ends: list[tuple[Held, str, str]] = []
        self._children: list[dict[str, Any]] = []
        self._spills: list[tuple[Held, str]] = []
        self._changes: Counter[str] = Counter()
        self._urgencies: dict[str, tuple[int, bool]] = {}

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
            branch = f"{held.branch}.{number:06}".lstrip(".")
            if plan.next_joins:
                self._ends.append((held, branch, body))
            else:
                self._send(held, plan, branch, body)
        self._changes[held.run_id] += len(going)
        if rest := outputs[len(going) :]:
            self._spill(held, plan, first + len(going), rest)
        else:
            self.left.append(held)
            self._changes[held.run_id] -= 1

    def end(self, held: Held, output: str) -> None:
        self._look_up_urgency(held)
        self._ends.append((held, held.branch, output))
        self.left.append(held)

    def write(self, at: str) -> None:
        each, change = self.commit.database.each, self.commit.database.change
        each(sql.INSERT_MESSAGE, [child | {"available_at": at} for child in self._children])
        for held, body in self._spills:
            change(sql.SPILL, [body, self.commit.was_at, at, held.id])
        each(
            sql.END_BRANCH,
            [
                {"id": held.run_id, "branch": branch, "body": body}
                for held, branch, body in self._ends
            ],
        )
        for held, _, _ in self._ends:
            self._changes[held.run_id] -= 1
        runs = {held.run_id: held for held, _, _ in self._ends} | {h.run_id: h for h in self.left}
        for run_id, count in sorted(self._changes.items()):
            rows = self.commit.database.query(sql.COUNT_BRANCHES, [count, run_id])
            if rows and rows[0][0] == 0:
                self._all_ended(runs[run_id], at)
        for done in self.commit.buried:
            if done.held.branch and change(
                sql.FAIL_RUN_OF_BRANCH, [done.error, at, done.held.run_id]
            ):
                self.entries.append((step_plan(done.held.step_id).site.flow, FAILED))
        if self._children or self._spills:
            self.commit.database.wake()

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
                "branch": branch,
            }
        )

    def _look_up_urgency(self, held: Held) -> None:
        """Branches, and the message they are joined to, are as urgent as what they came from."""
        if held.run_id not in self._urgencies:
            self._urgencies[held.run_id] = self.commit.database.query(sql.URGENCY, [held.id])[0]

    def _spill(self, held: Held, plan: StepPlan, first: int, rest: list[str]) -> None:
        self.commit.counters[self.commit.was_at].depth_change += 1
        self._spills.append((held, f"[{first},{','.join(rest)}]"))

    def _refuse(self, done: Done, error: str) -> None:
        done.fate, done.reason, done.error = Fate.BURIED, DeadLetter.Reason.TOO_MANY.value, error
        self.commit.buried.append(done)

    def _all_ended(self, last: Held, at: str) -> None:
        plan = step_plan(last.step_id)
        database = self.commit.database
        if fault := fault_of_ends(database, last.run_id):
            self._fail(last, plan, fault, at)
            return
        bodies = [row[0] for row in database.query(sql.BRANCH_ENDS, [last.run_id])]
        body = joined(last, bodies) if plan.next_joins else f"[{','.join(bodies)}]"
        if fault := fault_of_text(body):
            self._fail(last, plan, fault, at)
            return
        database.change(sql.FORGET_BRANCH_ENDS, [last.run_id])
        if plan.next_joins:
            self._join(last, plan, body, at)
            return
        database.each(sql.COMPLETE_RUN, [{"id": last.run_id, "result": body, "finished_at": at}])
        self.entries.append((plan.site.flow, COMPLETED))

    def _fail(self, last: Held, plan: StepPlan, error: str, at: str) -> None:
        """Fail a run whose outputs cannot be put together; there is no message to bury."""
        self.commit.database.change(sql.FORGET_BRANCH_ENDS, [last.run_id])
        row = {"id": last.run_id, "error": error, "finished_at": at}
        self.commit.database.each(sql.FAIL_RUN, [row])
        self.entries.append((plan.site.flow, FAILED))

    def _join(self, last: Held, plan: StepPlan, body: str, at: str) -> None:
        """Go on as one message, with the run's own id; the last branch leaves it its room."""
        self._children.clear()
        self._send(last, plan, "", body)
        [joined] = self._children
        joined["id"] = last.run_id
        self.commit.database.each(sql.INSERT_MESSAGE, [joined | {"available_at": at}])
        self.commit.database.query(sql.COUNT_BRANCHES, [1, last.run_id])
        self.commit.database.wake()


def joined(last: Held, bodies: list[str]) -> str:
    payloads = ",".join(member_of(body, "payload") for body in bodies)
    return f'{{"correlationId":"{last.correlation_id}","payload":[{payloads}]}}'


def fault_of_fan_out(held: Held, count: int, size: int) -> str | None:
    if count > size:
        return f"It returned {count} messages, the next queue holds {size}."
    if held.branch.count(".") + 1 >= MAX_FAN_OUTS:
        return f"It has fanned out {MAX_FAN_OUTS} times already; that is the most."
    return None

"""What becomes of a run when its last branch has ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from flows.encryption.payload_keys import decrypt, encrypt
from flows.models import DeadLetter, Run
from flows.models.keep import Keep
from flows.models.message import DEFAULT_PRIORITY
from flows.plan import StepPlan, flow_name_of, meeting_plan, step_plan
from flows.signals import announce_end, announce_letter
from flows.store import sql
from flows.store.counters import Counters
from flows.store.database import sql_time
from flows.store.sizes import fault_of_ends, fault_of_text
from flows.store.telling import End, flow_id_of
from flows.store.totals import totals_by_flow
from flows.store.types import QueueCounters
from scripts.protocol.json_text import member_of


@dataclass(frozen=True, slots=True)
class Gathered:
    """A run whose branches have all ended. It is locked.

    `step_id` is a step that a branch has left last, of whatever version.
    """

    correlation_id: UUID
    status: str
    flow_version_id: int
    step_id: int
    priority: int = DEFAULT_PRIORITY
    bypasses_pause: bool = False

    @property
    def join(self) -> StepPlan | None:
        """The step with the join where it goes on; None: it does not."""
        if self.status not in Run.UNFINISHED:
            return None
        return meeting_plan(self.step_id, self.flow_version_id)


class RunEnd:
    """What becomes of a run when no branch of it can arrive any more.

    It is the same in whichever way the last one has ended: with an output, with an empty list, or
    as a dead letter that is discarded. A run that is failed by then stays failed.
    """

    def __init__(self, counters: Counters, queues: dict[int, QueueCounters], now: datetime) -> None:
        self.counters = counters
        self.database = counters.database
        self.queues = queues
        self.now = now
        self.totals = totals_by_flow()
        # The runs that it has ended.
        self.ended: list[End] = []

    def take_room(self, run: Gathered) -> bool:
        """Count the message of the join, if there is one, in its queue; false: that is full."""
        queue = run.join and self._counters_of(run.join.queue_id)
        if queue and not queue.room:
            return False
        if queue:
            queue.depth_change += 1
        return True

    def reach(self, run: Gathered) -> None:
        """Complete the run, or let it go on at the join, for which `take_room` has counted it.

        It fails where its outputs are too large together.
        """
        body, fault = self._gather(run)
        if run.status not in Run.UNFINISHED:
            return
        if fault:
            self._give_room_back(run)
            self._fail(run, fault)
        elif run.join:
            self._go_on_at(run.join, run, body)
        else:
            self._complete(run, body)

    def _gather(self, run: Gathered) -> tuple[str, str | None]:
        """Put the outputs together and forget them; return also what is wrong with them."""
        id, body = run.correlation_id.hex, ""
        fault = fault_of_ends(self.database, id)
        if fault is None and run.status in Run.UNFINISHED:
            ends = [decrypt(row[0]) for row in self.database.query(sql.BRANCH_ENDS, [id])]
            body = joined(run.correlation_id, ends) if run.join else f"[{','.join(ends)}]"
            fault = fault_of_text(body)
        self.database.write(sql.FORGET_BRANCH_ENDS, [id])
        return body, fault

    def _give_room_back(self, run: Gathered) -> None:
        if queue := run.join and self._counters_of(run.join.queue_id):
            queue.depth_change -= 1

    def _fail(self, run: Gathered, error: str) -> None:
        failed = [encrypt(error), sql_time(self.now), run.correlation_id.hex]
        for (version_id,) in self.database.query(sql.FAIL_RUN_OF_BRANCH, failed):
            self.totals[flow_name_of(version_id)].failed += 1
            self._note(run.correlation_id, version_id, Run.Status.FAILED)
            announce_end(run.correlation_id, flow_name_of(version_id), Run.Status.FAILED)

    def _note(self, run_id: UUID, version_id: int, status: str) -> None:
        self.ended.append(End(run_id.hex, flow_id_of(version_id), status))

    def _counters_of(self, queue_id: int) -> QueueCounters | None:
        if queue_id not in self.queues:
            self.queues.update(self.counters.lock([queue_id]))
        return self.queues.get(queue_id)

    def _complete(self, run: Gathered, result: str) -> None:
        row = {"id": run.correlation_id.hex, "result": result, "finished_at": sql_time(self.now)}
        self.database.each(sql.COMPLETE_RUN, [row])
        if step_plan(run.step_id).keep == Keep.FAILURES:
            self.database.each(sql.FORGET_INPUTS, [{"id": row["id"]}])
        flow_name = flow_name_of(run.flow_version_id)
        self.totals[flow_name].completed += 1
        self._note(run.correlation_id, run.flow_version_id, Run.Status.COMPLETED)
        announce_end(run.correlation_id, flow_name, Run.Status.COMPLETED)

    def _go_on_at(self, join: StepPlan, run: Gathered, body: str) -> None:
        """Go on as one message, which has the run's own id."""
        self.database.query(sql.COUNT_BRANCHES, [1, run.correlation_id.hex])
        if join.queue_id not in self.queues:
            self._fail_without_queue(join, run, body)
            return
        row = {
            "id": run.correlation_id.hex,
            "run_id": run.correlation_id.hex,
            "step_id": join.step_id,
            "queue_id": join.queue_id,
            "body": body,
            "priority": run.priority,
            "bypasses_pause": bool(run.bypasses_pause),
            "delayed": False,
            "branch": "",
            "available_at": sql_time(self.now),
        }
        self.database.each(sql.INSERT_MESSAGE, [row])
        self.database.wake()

    def _fail_without_queue(self, join: StepPlan, run: Gathered, body: str) -> None:
        error = f"The queue of the step {join.site.step!r}, where its branches meet, is gone."
        letter = DeadLetter.objects.create(
            run_id=run.correlation_id,
            step_id=join.step_id,
            reason=DeadLetter.Reason.NO_QUEUE,
            error=error,
            body=body,
            deliveries=0,
            dead_at=self.now,
        )
        self.totals[join.site.flow].letters_made += 1
        announce_letter(letter, join.site.flow, join.site.step)
        self._fail(run, error)


def joined(correlation_id: UUID, ends: list[str]) -> str:
    """Return the envelope of a join: the payloads of its branches as a list."""
    payloads = ",".join(map(payload_of, ends))
    return f'{{"correlationId":"{correlation_id}","payload":[{payloads}]}}'


def payload_of(output: str) -> str:
    """Return the payload of an output, or the output itself where it is no message.

    It is none after the last step, where branches of an older version of the flow have ended.
    """
    try:
        return member_of(output, "payload")
    except (KeyError, ValueError):
        return output

"""One commit of a session: decide where everything goes, then write it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from uuid import UUID

from django.conf import settings

from flows.disposition import Circumstances, Decision, Disposition
from flows.message.error_class import error_class_of
from flows.models import DeadLetter, Run
from flows.models.keep import Keep
from flows.models.quiet_end import note_quiet_ends
from flows.plan import StepPlan, step_plan
from flows.signals import announce_end, announce_letter, run_finished
from flows.store import sql
from flows.store.asked import Asked, ask_for_head, found_head
from flows.store.branches import Branches
from flows.store.children import Children, kept_for_room
from flows.store.counters import Counters
from flows.store.database import Columns, sql_time, sql_time_of_epoch
from flows.store.flow_state import RUN_AGAIN, with_state
from flows.store.kept import input_of
from flows.store.rate_limit import RateLimit
from flows.store.telling import End, tell_ends
from flows.store.totals import FlowTotalsChanges
from flows.store.types import (
    BATCH_SECONDS,
    DeliveryResult,
    HandedOver,
    Head,
    HeldMessage,
    Lease,
    QueueCounters,
    WritesTakenBack,
    without_writes,
)
from flows.store.usual import AttemptsDiffer, Sorted, Usual, write_attempts
from flows.store.waiting import waiting_again

# Returns how many messages of a step a session takes at once, by the number of its threads.
BatchSize = Callable[[StepPlan, int], int]
# Has the last word about a delivery, by what the transaction has found that stores it.
Decide = Callable[[Decision, Circumstances], Decision]

# What hardly any delivery differs from: nothing has been found.
USUAL = Circumstances()

UNLIMITED = 1_000_000
# How long scripts run one after the other that change the same state.
TURNS = timedelta(seconds=1)
# A start that is told as earlier than this before its reserved time is a fault of the clock.
START_TOLERANCE_SECONDS = 60.0


class Commit:
    """One commit of a session, within a transaction that has renewed its lease.

    First it is decided where everything goes, counted in locked counters; then it is written. The
    attempts of usual deliveries may have been written before (`ahead`).
    """

    def __init__(
        self,
        counters: Counters,
        lease: Lease,
        found: Sorted,
        unfinished: int,
        batch: BatchSize,
        now: datetime,
        at: str = "",
        ahead: bool = False,
    ) -> None:
        self.counters = counters
        self.database = counters.database
        self.lease = lease
        self.found = found
        self.results = found.results
        self.usual = found.usual
        # Those that are looked at one by one.
        self.others = found.others
        self.unfinished = unfinished
        self.batch = batch
        self.now = now
        # How it is written.
        self.at = at or sql_time(now)
        # Whether the attempts of usual deliveries are written already.
        self.ahead = ahead
        self.source_queue_id = lease.queue_id
        self.queues: dict[int, QueueCounters] = {}
        self.kept: HandedOver | None = None
        # By their steps and queues.
        self.handed: dict[tuple[int, int], HandedOver] = {}
        self.completed: list[DeliveryResult] = []
        self.completed_usual: list[Usual] = []
        self.retried: list[DeliveryResult] = []
        self.waiting: list[DeliveryResult] = []
        self.released: list[DeliveryResult] = []
        self.put_aside: list[DeliveryResult] = []
        self.dead: list[DeliveryResult] = []
        self.cancelled: list[DeliveryResult] = []
        self.unpended: list[DeliveryResult] = []
        self.rates: dict[int, RateLimit] = {}
        self.children = Children(counters, self.queues, now)
        self.branches = Branches(counters, self.queues, self.source_queue_id, now)

    def run(
        self,
        claim: bool,
        decide: Decide | None = None,
        cancelled: Collection[str] = (),
        marks: bool = True,
        asked: Asked | None = None,
    ) -> list[HeldMessage]:
        """Return what the session does next. Raises WritesTakenBack, StateRefused, and
        AttemptsDiffer.

        `decide` has the last word about each delivery, `cancelled` are messages of cancelled runs.
        `asked` is what the database was asked for already.
        """
        self.asked = asked or Asked(self.counters, self.lease, self.found, self.unfinished, claim)
        head, locked = self.asked.found()
        self.queues.update(locked)
        self.lease.next_start_seconds = 0.0
        self._look_again_at_usual(cancelled)
        if decide:
            self.others = [self._decided(each, decide, cancelled) for each in self.others]
        if any(each.state for each in self.others):
            self.others = with_state(self.others, self.now)
            self._take_turns()
        for group in self.usual:
            self._settle_usual(group)
        self.others = list(self.others)
        for number, result in enumerate(self.others):
            if result.starts:
                result = self.others[number] = self.children.with_known_keys(result)
            self._settle(result)
        if taken_back := [replace(r, takes_back=False) for r in self.others if r.takes_back]:
            raise WritesTakenBack(taken_back)
        self._slow_down_or_recover()
        self._correct_starts()
        taken = self._carry() if self.asked.goes_on else []
        if head and not taken:
            taken = self._claim(self.asked.claim_at, head)
        self.asked.decided(self.queues, taken)
        self.database.go_by_keys()
        if marks:
            self._mark_running(taken)
        self._note_starts(taken)
        self._write()
        self.counters.add(self.queues)
        self.counters.add_to_totals(self._totals())
        return taken

    @property
    def stored(self) -> list[DeliveryResult]:
        """The deliveries as they were decided."""
        return [*self._usual_results(), *self.others]

    # --- deciding --------------------------------------------------------------------------

    def _usual_results(self) -> Iterator[DeliveryResult]:
        return chain.from_iterable(group.results for group in self.usual)

    def _look_again_at_usual(self, cancelled: Collection[str]) -> None:
        """Look at those one by one whose runs may be cancelled, or whose next queue is gone."""
        usual, self.usual = self.usual, []
        for group in usual:
            if cancelled or self._lacks_queue(group.plan):
                if self.ahead:
                    raise AttemptsDiffer
                self.others = [*group.results, *self.others]
            else:
                self.usual.append(group)

    def _lacks_queue(self, plan: StepPlan) -> bool:
        return plan.next_step_id is not None and plan.next_queue_id not in self.queues

    def _settle_usual(self, group: Usual) -> None:
        """Do for a whole group what `_settle` does for each."""
        plan, count = group.plan, len(group.results)
        self._reserve(plan, -count)
        self.queues[self.source_queue_id].depth_change -= count
        if plan.next_step_id is None:
            self.completed_usual.append(group)
            return
        self.queues[plan.next_queue_id].depth_change += count
        handed = self._handed_to(plan.next_step_id, plan.next_queue_id)
        handed.held += [each.held for each in group.results]
        handed.bodies += [each.output for each in group.results]

    def _handed_to(self, step_id: int, queue_id: int) -> HandedOver:
        key = (step_id, queue_id)
        if key not in self.handed:
            self.handed[key] = HandedOver(*key)
        return self.handed[key]

    def _decided(
        self, result: DeliveryResult, decide: Decide, cancelled: Collection[str]
    ) -> DeliveryResult:
        """Return the result with the decision by what this transaction has found."""
        found = self._circumstances(result, result.held.id in cancelled)
        if found is USUAL:
            return result
        decided = replace(result, decision=decide(result.decision, found))
        if result.ran_in_commit and has_died(decided) and not has_died(result):
            return without_writes(decided)
        return decided

    def _circumstances(self, result: DeliveryResult, is_cancelled: bool) -> Circumstances:
        held, plan = result.held, result.plan
        # Hardly any message starts a run, and each one comes by here.
        if result.starts:
            lost = [run.flow_name for run in result.starts if run.queue_id not in self.queues]
            if lost:
                return Circumstances(is_cancelled, lacks_queue_of=lost[0])
        if plan.next_step_id is None or result.finishes:
            return Circumstances(is_cancelled) if is_cancelled else USUAL
        queue = self.queues.get(plan.next_queue_id)
        # What waits for room already goes on as room comes, even if the queue is smaller now.
        is_new = result.branches is not None and not held.pending_outputs
        if queue is None or not is_new:
            lacks = queue is None
            return Circumstances(is_cancelled, lacks) if is_cancelled or lacks else USUAL
        outputs, fan_outs = len(result.branches or ()), held.branch.count(".") + 1
        return Circumstances(is_cancelled, False, outputs, fan_outs, queue.size)

    def _settle(self, done: DeliveryResult) -> None:
        """Find where a message goes, and count it there."""
        plan = done.plan
        self._reserve(plan, -1)
        disposition = done.decision.disposition
        if disposition is Disposition.WAITING:
            self.waiting.append(done)
            return
        if disposition is Disposition.RETRY:
            self.retried.append(done)
            return
        if disposition is Disposition.RELEASED:
            waits = done.decision.delay is not None
            (self.put_aside if waits else self.released).append(done)
            return
        self.queues[self.source_queue_id].depth_change -= 1
        is_accepted = disposition is Disposition.ACCEPTED
        if is_accepted and done.starts and not self.children.take(done.starts):
            self.branches.wait_for_starts(done, kept_for_room(done))
            return
        if done.held.pending_outputs and done.branches is None:
            self.unpended.append(done)
        if disposition is Disposition.CANCELLED:
            self.cancelled.append(done)
        elif disposition is Disposition.DEAD_LETTERED:
            is_rest = done.held.pending_outputs and done.branches is not None and not done.starts
            self.dead += self.branches.dead_rest(done, plan) if is_rest else [done]
        elif plan.next_step_id is not None and done.branches is not None:
            self.branches.fan_out(done, plan)
        elif done.held.branch and (done.finishes or plan.next_step_id is None or plan.next_joins):
            self.branches.end(done.held, plan, done.output)
        elif done.finishes or plan.next_step_id is None:
            self.completed.append(done)
        else:
            self.queues[plan.next_queue_id].depth_change += 1
            handed = self._handed_to(plan.next_step_id, plan.next_queue_id)
            handed.held.append(done.held)
            handed.bodies.append(done.output)

    def _carry(self) -> list[HeldMessage]:
        """Keep messages that were just handed over, and move the lease to their queue."""
        if not self.handed:
            return []
        handed = next(iter(self.handed.values()))
        step_id, queue_id = handed.step_id, handed.queue_id
        # Those that wait there came first.
        queue = self.queues[queue_id]
        if queue.paused or not self.lease.reach.takes(queue.cluster):
            return []
        if self.asked.is_awaited(queue_id):
            return []
        plan, threads = step_plan(step_id), self._movable_threads(queue_id)
        count = self._fitting(plan, queue_id, threads)
        if not count:
            return []
        kept = self.kept = handed.cut(count)
        if not handed.held:
            del self.handed[step_id, queue_id]
        self._move(queue_id, threads)
        self._reserve(plan, len(kept.held))
        self.lease.suspects = False
        return [
            HeldMessage(h.id, h.run_id, step_id, body, 1, h.branch, waiting=h.waiting)
            for h, body in zip(kept.held, kept.bodies, strict=True)
        ]

    def _claim(self, queue_id: int, head: Head) -> list[HeldMessage]:
        """Take messages that wait in a queue, which the lease moves to if it is elsewhere."""
        if not self.lease.reach.takes(self.queues[queue_id].cluster):
            return []
        moves = queue_id != self.lease.queue_id
        # Asked anew each time: the step may have been given fewer threads meanwhile.
        threads = self._movable_threads(queue_id)
        admitted = self._admitted(queue_id, head)
        if admitted is None:
            return []
        head, room = admitted, self.queues[queue_id].room
        count = self._fitting(head.plan, queue_id, threads)
        if head.suspects:
            count = min(count, 0 if self.unfinished else head.suspects)
        if head.delayed:
            count = min(count, room)
        if count < 1:
            return []
        if moves or threads < self.lease.threads:
            self._move(queue_id, max(threads, self.unfinished))
        which = head.which if head.delayed or room >= count else f"{head.which} AND NOT delayed"
        rows = self.database.query(
            sql.TAKE.format(which=which, is_taken=self.database.is_taken),
            [queue_id, sql_time(self.now), head.plan.step_id, count, self.lease.consumer_id],
        )
        self._admit(queue_id, sum(bool(delayed) for delayed, *_ in rows))
        self._reserve(head.plan, len(rows))
        self.lease.suspects = head.suspects > 0
        return sorted((HeldMessage.of_row(row) for _, *row in rows), key=lambda held: held.id)

    def _admitted(self, queue_id: int, head: Head) -> Head | None:
        """Return the first message that may be taken: one that bypasses a pause where there is one,
        and no delayed start where the queue has no room for it.
        """
        queue = self.queues[queue_id]
        and_which = "" if queue.room else sql.NOT_DELAYED
        first: Head | None = head
        if queue.paused:
            first = self._head_past_pause(queue_id, and_which)
        elif head.delayed and not queue.room:
            first = self._head(queue_id, and_which)
        if first and (unlocked := set(first.plan.rooms) - self.queues.keys()):
            self.queues |= self.counters.lock(unlocked)
        return first

    def _admit(self, queue_id: int, count: int) -> None:
        """Count delayed starts as messages in their queue, from now on."""
        self.queues[queue_id].delayed_change -= count
        self.queues[queue_id].depth_change += count

    def _head(self, queue_id: int, and_which: str = "") -> Head | None:
        return found_head(ask_for_head(self.database, queue_id, and_which))

    def _head_past_pause(self, queue_id: int, and_which: str) -> Head | None:
        columns = "m.step_id, m.suspects, m.delayed"
        statement = sql.HEAD_PAST_PAUSE.format(
            columns=columns, queue="%s", now="%s", and_which=and_which
        )
        rows = self.database.query(statement, [queue_id, sql_time(self.now)])
        for step_id, suspects, delayed in rows:
            which = f"bypasses_pause AND suspects = {suspects}"
            return Head(step_plan(step_id), which, suspects, bool(delayed))
        return None

    def _fitting(self, plan: StepPlan, queue_id: int, threads: int) -> int:
        """How many more messages of a step fit: batch, threads, rate, room in the next queue."""
        if threads < 1:
            return 0
        queue, alone_until = self.queues[queue_id], self.lease.one_at_a_time_until
        most = self.batch(plan, threads)
        if any(until and until > self.now for until in (queue.slow_until, alone_until)):
            most = 1
        if queue.rate_limit:
            # What has a rate starts at once or not at all.
            allowance = queue.rate_limit.allowance(self.now.timestamp())
            most = min(most, max(threads, self._startable(most)), self.unfinished + allowance)
            if not allowance and queue_id == self.lease.queue_id:
                epoch = self.now.timestamp()
                self.lease.next_start_seconds = queue.rate_limit.free_at(epoch) - epoch
        return max(min(most - self.unfinished, self._room_after(plan)), 0)

    def _startable(self, batch: int) -> int:
        """How many of a batch are sure to start within the time that is reserved for their starts.

        Half of it is for the way to the scripts.
        """
        return int(batch * self.lease.start_margin_seconds / 2 / BATCH_SECONDS)

    def _room_after(self, plan: StepPlan) -> int:
        # A queue that is gone holds nothing back: its messages die when they come.
        found = [self.queues[id].room for id in plan.rooms if id in self.queues]
        return min(found, default=UNLIMITED)

    def _reserve(self, plan: StepPlan, count: int) -> None:
        """Keep room in each queue that the step's output may go to; a negative count gives it
        back.
        """
        for queue_id in plan.rooms:
            if following := self.queues.get(queue_id):
                following.reserved_change += count

    def _movable_threads(self, queue_id: int) -> int:
        """Threads the lease may have at another queue: its own number or what is free there."""
        free = self.queues[queue_id].threads - self.asked.threads(queue_id)
        return min(self.lease.threads, free)

    def _move(self, queue_id: int, threads: int) -> None:
        self.database.write(sql.MOVE_CONSUMER, [queue_id, threads, self.lease.consumer_id])
        self.lease.queue_id, self.lease.threads = queue_id, threads

    def _slow_down_or_recover(self) -> None:
        """Go slowly where a script was asked to wait, until one gets through."""
        queue = self.queues[self.source_queue_id]
        decisions = [each.decision for each in self.others]
        waits = [each.delay for each in decisions if each.slows_queue and each.delay]
        if waits:
            queue.slow_until = self.now + max(waits)
        elif queue.slow_until and (self.usual or any(map(gets_through, self.others))):
            queue.slow_until = None
        else:
            return
        until = queue.slow_until and sql_time(queue.slow_until)
        self.database.write(sql.SLOW_DOWN, [until, self.source_queue_id])

    def _take_turns(self) -> None:
        """Let scripts run one after the other where most had to be run again at the same time."""
        again = sum(each.decision is RUN_AGAIN for each in self.others)
        if again > 1 and 2 * again > len(self.results):
            self.lease.one_at_a_time_until = self.now + TURNS

    def _correct_starts(self) -> None:
        """Tell the rate limit when scripts did start: sooner than they might have."""
        rate = self.queues[self.source_queue_id].rate_limit
        if rate is None or not self.results:
            return
        for done in self.stored:
            at = self._plausible_start(done)
            has_started = done.has_begun and (done.ran or done.runs_again)
            rate.correct(done.held.reserved_at, at if has_started else None)
        self.rates[self.source_queue_id] = rate

    def _plausible_start(self, done: DeliveryResult) -> float:
        """Return when a script started, or might have where the clock was set meanwhile."""
        at, reserved = done.started_at + self.lease.clock_skew_seconds, done.held.reserved_at
        return at if reserved - START_TOLERANCE_SECONDS <= at <= self.now.timestamp() else reserved

    # --- writing ---------------------------------------------------------------------------

    def _mark_running(self, taken: Sequence[HeldMessage]) -> None:
        """A run begins with the first delivery of its first message."""
        if first := [held.id for held in taken if is_first(held)]:
            rows = Columns({"id": first}, {"started_at": sql_time(self.now)})
            self.database.each(sql.MARK_RUNNING, rows)

    def _note_starts(self, taken: Sequence[HeldMessage]) -> None:
        """Write down what starts now where there is a rate limit."""
        rate = self.queues[self.lease.queue_id].rate_limit
        self.lease.has_rate = rate is not None
        if taken and rate:
            starts_by = self.now.timestamp() + self.lease.start_margin_seconds
            rate.add(starts_by, len(taken))
            for held in taken:
                held.reserved_at = starts_by
            self.rates[self.lease.queue_id] = rate
        for queue_id, changed in self.rates.items():
            self.database.write(sql.WRITE_RECENT_STARTS, [changed.write(), queue_id])

    def _write(self) -> None:
        write, at = self.database.each, self.at
        waited = [each for each in self.others if each.held.waiting is not None]
        write(sql.FORGET_WAITING, [waiting_row(each) for each in waited if is_waiting(each)])
        if not self.ahead:
            write_attempts(self.database, self.usual)
        prepare_attempts(self.others)
        write(sql.INSERT_STEP_RUN, [each.attempt for each in self.others if each.attempt])
        noted = [{"id": d.held.id} for d in self.others if d.held.noted is not None]
        write(sql.FORGET_RUNNING, noted)
        write(sql.FORGET_PENDING, [{"id": each.held.id} for each in self.unpended])
        if self.kept:
            self.database.each(sql.KEEP, handed_rows(self.kept, at))
        for handed in self.handed.values():
            self.database.each(sql.HAND_OVER, handed_rows(handed, at))
        write(sql.WAIT_AGAIN, [self._retry_row(each) for each in self.retried])
        write(sql.WAIT_ON, [self._wait_row(each) for each in self.waiting])
        write(sql.GIVE_BACK, [self._retry_row(each) for each in self.released])
        write(sql.PUT_ASIDE, [self._retry_row(each) for each in self.put_aside])
        given_back = [each.held for each in (*self.released, *self.put_aside)]
        write(sql.MARK_QUEUED, [{"id": held.run_id} for held in given_back if is_first(held)])
        for group in self.completed_usual:
            self._complete(group, at)
        left = [done.held for done in (*self.completed, *self.dead, *self.cancelled)]
        write(sql.DELETE_MESSAGE, [{"id": held.id} for held in left])
        write(sql.COMPLETE_RUN, [ended_row(done, at) for done in self.completed])
        write(
            sql.FORGET_INPUTS, [{"id": d.held.run_id} for d in self.completed if keeps_failures(d)]
        )
        write(sql.FAIL_RUN, [ended_row(done, at) for done in self.dead if not done.held.branch])
        write(sql.COUNT_WARNING, [{"id": done.held.run_id} for done in self.others if done.warning])
        self.branches.write(self.dead)
        self.children.write(self.branches.totals)
        if self.dead:
            letters = [dead_letter(done, self.now) for done in self.dead]
            for letter in DeadLetter.objects.bulk_create(letters):
                site = step_plan(letter.step_id).site
                announce_letter(letter, site.flow, site.step)
        self._note_quiet_ends()
        tell_ends(self._ends(), self.now)
        if self.handed or self.retried or self.waiting or given_back:
            self.database.wake()

    def _complete(self, group: Usual, at: str) -> None:
        """Complete the runs whose last step has ended as usual."""
        ids, runs = [d.held.id for d in group.results], [d.held.run_id for d in group.results]
        results = [each.output for each in group.results]
        self.database.each(sql.DELETE_MESSAGE, Columns({"id": ids}, {}))
        ended = Columns({"id": runs, "result": results}, {"finished_at": at})
        self.database.each(sql.COMPLETE_RUN, ended)
        if group.plan.keep == Keep.FAILURES:
            self.database.each(sql.FORGET_INPUTS, Columns({"id": runs}, {}))

    def _note_quiet_ends(self) -> None:
        """Note the runs that end without an attempt that is stored here. Hardly any does."""
        quiet = [done.held.run_id for done in (*self.completed, *self.dead) if not done.ran]
        quiet += [end.run_id for end in self.branches.end_of_run.ended]
        if ended := set(map(UUID, quiet)):
            ended -= {UUID(done.held.run_id) for done in self.others if done.ran}
            note_quiet_ends(ended, self.now)

    def _ends(self) -> list[End]:
        """Return the ends of runs in the order in which they are counted."""
        completed, failed = Run.Status.COMPLETED, Run.Status.FAILED
        return [
            *(end_of(d, completed) for group in self.completed_usual for d in group.results),
            *(end_of(done, completed) for done in self.completed),
            *(end_of(done, failed) for done in self.dead if not done.held.branch),
            *self.branches.failed,
            *self.branches.end_of_run.ended,
        ]

    def _retry_row(self, done: DeliveryResult) -> dict[str, object]:
        available_at = sql_time(self.now + (done.decision.delay or timedelta(0)))
        return {"id": done.held.id, "queue_id": self.source_queue_id, "available_at": available_at}

    def _wait_row(self, done: DeliveryResult) -> dict[str, object]:
        held, decision = done.held, done.decision
        kept = waiting_again(
            held.waits, held.step_id, self.now.timestamp(), decision.state, decision.error
        )
        return self._retry_row(done) | {"waiting": kept}

    def _totals(self) -> FlowTotalsChanges:
        """Return what the totals of flows change by; a cancellation has counted its run itself."""
        totals, is_awaited = self.branches.totals, run_finished.has_listeners()
        for group in self.completed_usual:
            flow_name = group.plan.site.flow
            totals[flow_name].completed += len(group.results)
            if is_awaited:
                for done in group.results:
                    announce_end(done.held.run_id, flow_name, Run.Status.COMPLETED)
        for done in self.completed:
            flow_name = step_plan(done.held.step_id).site.flow
            totals[flow_name].completed += 1
            # Asked once: Django's answer is slow.
            if is_awaited:
                announce_end(done.held.run_id, flow_name, Run.Status.COMPLETED)
        for done in self.dead:
            flow_name = step_plan(done.held.step_id).site.flow
            totals[flow_name].letters_made += 1
            if not done.held.branch:
                totals[flow_name].failed += 1
                announce_end(done.held.run_id, flow_name, Run.Status.FAILED)
        return totals


def end_of(done: DeliveryResult, status: str) -> End:
    return End(done.held.run_id, step_plan(done.held.step_id).site.flow_id, status)


def is_first(held: HeldMessage) -> bool:
    """Whether it is the first delivery of the first message of its run."""
    return held.deliveries == 1 and step_plan(held.step_id).position == 0


def has_died(done: DeliveryResult) -> bool:
    return done.disposition is Disposition.DEAD_LETTERED


def gets_through(done: DeliveryResult) -> bool:
    """Whether a script has ended well; what waited for room has run before."""
    return done.disposition is Disposition.ACCEPTED and done.ran


def is_waiting(done: DeliveryResult) -> bool:
    return done.disposition is Disposition.WAITING


def waiting_row(done: DeliveryResult) -> dict[str, object]:
    held = done.held
    return {"id": held.run_id, "step_id": held.step_id, "branch": held.branch}


def keeps_failures(done: DeliveryResult) -> bool:
    return step_plan(done.held.step_id).keep == Keep.FAILURES


def handed_rows(handed: HandedOver, at: str) -> Columns:
    shared = {"step_id": handed.step_id, "queue_id": handed.queue_id, "available_at": at}
    return Columns({"id": [held.id for held in handed.held], "body": handed.bodies}, shared)


def ended_row(done: DeliveryResult, at: str) -> dict[str, object]:
    return {
        "id": done.held.run_id,
        "result": done.output,
        "error": done.decision.error,
        "finished_at": at,
    }


def prepare_attempts(results: Sequence[DeliveryResult]) -> None:
    """Make the rows of the attempts that have none yet."""
    # Read once: Django's settings are slow.
    most = settings.ASYNCENGINE_MAX_KEPT_BYTES
    for done in results:
        if done.attempt is None and done.ran:
            done.attempt = step_run_row(done, most)


def step_run_row(done: DeliveryResult, most_kept_bytes: int) -> dict[str, object]:
    return {
        "id": done.held.run_id,
        "branch": done.held.branch,
        "deliveries": done.held.deliveries,
        "step_id": done.held.step_id,
        "outcome": done.decision.outcome.value,
        "started_at": sql_time_of_epoch(done.started_at),
        "finished_at": sql_time_of_epoch(done.finished_at),
        "error": done.decision.error,
        "logs": done.logs,
        **input_of(done, most_kept_bytes),
    }


def dead_letter(done: DeliveryResult, now: datetime) -> DeadLetter:
    """Return the dead letter of a delivery, not stored yet."""
    return DeadLetter(
        run_id=UUID(done.held.run_id),
        branch=done.held.branch,
        step_id=done.held.step_id,
        reason=done.decision.reason.value if done.decision.reason else "",
        cause=done.decision.cause.value,
        error=done.decision.error,
        error_class=error_class_of(done.decision.error),
        code=done.decision.code,
        details=done.decision.details,
        body=done.held.body,
        deliveries=done.held.deliveries,
        dead_at=now,
    )

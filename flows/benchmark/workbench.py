"""A flow made for one measurement."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from flows import engine
from flows.benchmark.names import new_name
from flows.benchmark.waiting import (
    BenchFailed,
    became_true,
    stop_if_interrupted,
    wait_until,
)
from flows.models import (
    BranchEnd,
    Consumer,
    CountBlock,
    CountedTotals,
    DeadLetter,
    Flow,
    FlowTotals,
    FlowVersion,
    Message,
    Queue,
    RefusedStarts,
    ReprocessedLetter,
    RoleMapping,
    Run,
    RunningAttempt,
    RunText,
    Step,
    StepRun,
)
from flows.models.keep import Keep
from flows.store import store
from scripts.models import Script, ScriptVersion

# The most runs that are started in one transaction.
CHUNK = 1_000
# Asked fifty times a second, on the cores of what is measured: not by the ORM.
IS_DONE = """
    SELECT 1 FROM flows_queue q JOIN flows_queuestate s ON s.queue_id = q.id
    WHERE q.name LIKE %s AND s.depth > 0 LIMIT 1
"""
# What has rows of each run.
GROWING = (Message, Run, StepRun, RunText, BranchEnd, DeadLetter, ReprocessedLetter)
# A worker leaves a paused queue within a slice of its time.
LEAVING_SECONDS = 30.0


@dataclass(frozen=True)
class BenchStep:
    code: str
    threads: int = 4
    join: bool = False


@dataclass(frozen=True)
class Workbench:
    """A flow with its scripts and queues. All its rows carry its name."""

    name: str

    @classmethod
    def make(
        cls,
        steps: Sequence[BenchStep],
        size: int,
        *,
        paused: bool = False,
        keep: str = Keep.EVERYTHING,
        language: str = "python",
    ) -> Workbench:
        """Make it with queues of this size. Steps with the same code have one script."""
        name = new_name()
        with transaction.atomic():
            scripts = {
                code: Script.objects.create(name=f"{name}-{n}", code=code, language=language)
                for n, code in enumerate(dict.fromkeys(step.code for step in steps))
            }
            flow = Flow.objects.create(name=name, description="Made by manage.py bench.", keep=keep)
            for position, step in enumerate(steps):
                queue = Queue.objects.create(name=f"{name}-{position}", size=size, paused=paused)
                Step.objects.create(
                    flow=flow,
                    position=position,
                    name=f"step{position}",
                    script=scripts[step.code],
                    queue=queue,
                    threads=step.threads,
                    join=step.join,
                )
        return cls(name)

    # --- its runs --------------------------------------------------------------------------

    def start_all(self, runs: int) -> None:
        for first in range(0, runs, CHUNK):
            stop_if_interrupted()
            engine.start_many(self.name, map(payload, range(first, min(first + CHUNK, runs))))

    def seconds_of(self, runs: int) -> float:
        """Start runs in bulk; return the seconds from the first start to the last end."""
        started_at = time.monotonic()
        self.start_all(runs)
        self.finish()
        return time.monotonic() - started_at

    def one_run(self, number: int) -> float:
        """Return the milliseconds from the start call to the end of a run, polled every 0.5 ms."""
        started_at = time.perf_counter()
        run = engine.start(self.name, payload(number))
        wait_until(lambda: is_completed(run.correlation_id), every=0.0005)
        return (time.perf_counter() - started_at) * 1000

    def is_done(self) -> bool:
        """Return whether no message is left. Counting the completed runs would be much slower."""
        return store().database.look_up(IS_DONE, [f"{self.name}-%"]) == []

    def finish(self) -> None:
        """Wait until all runs have ended. Raises BenchFailed."""
        wait_until(self.is_done)
        if self.runs().exclude(status=Run.Status.COMPLETED).exists():
            raise BenchFailed("some runs did not complete")

    def runs(self) -> QuerySet[Run]:
        return Run.objects.filter(
            flow_version__in=list(self.versions().values_list("pk", flat=True))
        )

    def versions(self) -> QuerySet[FlowVersion]:
        return FlowVersion.objects.filter(flow_name=self.name)

    def queues(self) -> QuerySet[Queue]:
        return Queue.objects.filter(name__startswith=f"{self.name}-")

    # --- its end ---------------------------------------------------------------------------

    def forget_runs(self) -> None:
        """Delete the runs, which have ended, and what is stored of them; totals stay."""
        runs = self.runs()
        analyze_what_grows()
        delete_at_once(ReprocessedLetter.objects.filter(dead_letter__run__in=runs))
        for model in (StepRun, RunText, BranchEnd, DeadLetter):
            delete_at_once(model.objects.filter(run__in=runs))
        delete_at_once(runs)

    def remove(self) -> None:
        """Delete all its rows, also those of runs that have not ended."""
        self._stop()
        analyze_what_grows()
        delete_at_once(Message.objects.filter(step__flow_version__in=self.versions()))
        self.forget_runs()
        for model in (FlowTotals, CountedTotals, CountBlock, RefusedStarts):
            model.objects.filter(flow_name=self.name).delete()
        Step.objects.filter(flow__name=self.name).delete()
        Flow.objects.filter(name=self.name).delete()
        self.versions().delete()
        self.queues().delete()
        Script.objects.filter(name__startswith=f"{self.name}-").delete()
        ScriptVersion.objects.filter(script_name__startswith=f"{self.name}-").delete()
        self._forget_history()

    def _forget_history(self) -> None:
        # That of the flow itself goes last: it knows the id.
        ids = list(Flow.history.filter(name=self.name).values_list("id", flat=True))
        Step.history.filter(flow_id__in=ids).delete()
        RoleMapping.history.filter(flow_id__in=ids).delete()
        for model in (Queue, Script, Flow):
            model.history.filter(name__startswith=self.name).delete()

    def _stop(self) -> None:
        """Have the workers leave the queues, where a workload was interrupted.

        Those that were killed never do, and no other one reaps them where no cluster runs.
        """
        if not self.is_done():
            self.queues().update(paused=True)
        held = Consumer.objects.filter(queue__in=self.queues())
        became_true(lambda: not held.exists(), LEAVING_SECONDS)
        attempts = RunningAttempt.objects.filter(consumer_id__in=held.values("pk"))
        delete_at_once(attempts)
        delete_at_once(held)


@contextmanager
def workbench(steps: Sequence[BenchStep], size: int, **options: Any) -> Iterator[Workbench]:
    """Make a workbench, and remove it afterwards."""
    bench = Workbench.make(steps, size, **options)
    try:
        yield bench
    finally:
        bench.remove()


def delete_at_once(rows: QuerySet[Any, Any]) -> None:
    """Delete rows without reading them first, and without looking for rows that name them."""
    rows._raw_delete("default")


def analyze_what_grows() -> None:
    """Let PostgreSQL know how many rows the tables of messages and runs have now.

    Where it has not looked yet, it takes them for empty, and reads all of one for each row of
    another.
    """
    if connection.vendor == "postgresql":
        tables = ", ".join(model._meta.db_table for model in GROWING)
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {tables}")


def is_completed(correlation_id: UUID) -> bool:
    # Asked two thousand times a second, on the cores of what is measured.
    statement = "SELECT status FROM flows_run WHERE correlation_id = %s"
    rows = store().database.look_up(statement, [correlation_id.hex])
    return rows == [(Run.Status.COMPLETED,)]


def payload(number: int) -> dict[str, Any]:
    """About 200 bytes of JSON."""
    return {"number": number, "name": f"Applicant {number:08}", "text": "x" * 150}

"""Workloads that measure an installation. They make the rows they need and delete them again."""

from __future__ import annotations

import os
import secrets
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from flows import engine
from flows.models import (
    CountBlock,
    CountedTotals,
    Flow,
    FlowTotals,
    FlowVersion,
    Message,
    Queue,
    QueueState,
    Run,
    Step,
    StepRun,
)
from flows.models.keep import Keep
from flows.plan import StepPlan, flow_plan
from flows.store import Lease, store
from flows.up.supervisor import managed
from scripts.models import Script, ScriptVersion

TRIVIAL = "def run(message, context):\n    return message\n"
SLEEPING = "import time\n\n\ndef run(message, context):\n    time.sleep(0.05)\n    return message\n"
CHUNK = 1_000
LATENCY_RUNS = 50
DEADLINE_SECONDS = 600
LONG_TASKS = 20
LONG_TASK_SECONDS = 3.0
BETWEEN_RUNS_SECONDS = 0.02


class BenchFailed(Exception):
    """The workload did not finish."""


@dataclass(frozen=True)
class Workbench:
    """A flow made for one measurement. All its rows carry its name."""

    name: str
    flow: Flow

    @classmethod
    def make(
        cls, code: str, steps: int, threads: int, size: int, paused: bool = False
    ) -> Workbench:
        name = f"bench-{secrets.token_hex(4)}"
        with transaction.atomic():
            script = Script.objects.create(name=name, code=code)
            flow = Flow.objects.create(name=name, description="Made by manage.py bench.")
            for position in range(steps):
                queue = Queue.objects.create(name=f"{name}-{position}", size=size, paused=paused)
                Step.objects.create(
                    flow=flow,
                    position=position,
                    name=f"step{position}",
                    script=script,
                    queue=queue,
                    threads=threads,
                )
        return cls(name, flow)

    def runs(self) -> QuerySet[Run]:
        versions = FlowVersion.objects.filter(flow_name=self.name).values_list("pk", flat=True)
        return Run.objects.filter(flow_version__in=list(versions))

    def is_done(self) -> bool:
        """Return whether no message is left. Counting the completed runs would be much slower."""
        return not QueueState.objects.filter(queue__step__flow=self.flow, depth__gt=0).exists()

    def finish(self) -> None:
        """Wait until all runs have ended. Raises BenchFailed."""
        wait_until(self.is_done, every=0.02)
        if self.runs().exclude(status=Run.Status.COMPLETED).exists():
            raise BenchFailed("some runs did not complete")

    def remove(self) -> None:
        versions = FlowVersion.objects.filter(flow_name=self.name)
        StepRun.objects.filter(step__flow_version__in=versions)._raw_delete("default")
        Message.objects.filter(step__flow_version__in=versions)._raw_delete("default")
        Run.objects.filter(flow_version__in=versions)._raw_delete("default")
        FlowTotals.objects.filter(flow_name=self.name).delete()
        CountedTotals.objects.filter(flow_name=self.name).delete()
        CountBlock.objects.filter(flow_name=self.name).delete()
        Step.objects.filter(flow=self.flow).delete()
        Flow.objects.filter(pk=self.flow.pk).delete()
        versions.delete()
        Queue.objects.filter(name__startswith=f"{self.name}-").delete()
        Script.objects.filter(name=self.name).delete()
        ScriptVersion.objects.filter(script_name=self.name).delete()
        for model in (Flow, Queue, Script, Step):
            model.history.filter(**history_of(model, self.name)).delete()


def history_of(model: Any, name: str) -> dict[str, Any]:
    return (
        {"flow": None, "name__startswith": "step"} if model is Step else {"name__startswith": name}
    )


def payload(number: int) -> dict[str, Any]:
    """About 200 bytes of JSON."""
    return {"number": number, "name": f"Applicant {number:08}", "text": "x" * 150}


def flow3(runs: int, keep: str = Keep.EVERYTHING) -> dict[str, Any]:
    """Measure three trivial steps: runs started in bulk, from the first start to the last end."""
    with workbench(TRIVIAL, 3, 4, runs + CHUNK, keep) as (bench, workers):
        started_at = time.monotonic()
        start_all(bench, runs)
        starts_seconds = time.monotonic() - started_at
        bench.finish()
        seconds = time.monotonic() - started_at
        latencies = [one_run(bench, number) for number in range(LATENCY_RUNS)]
        return {
            **about("flow3", workers),
            "runs": runs,
            "startsPerSecond": round(runs / starts_seconds),
            "stepsPerSecond": round(3 * runs / seconds),
            "latencyMs": percentiles(latencies),
            "peakRssMb": workers.peak_rss_mb(),
        }


def io(runs: int) -> dict[str, Any]:
    """Measure one step that sleeps 50 ms on 20 threads. The ideal is 400 executions a second."""
    with workbench(SLEEPING, steps=1, threads=20, size=runs + CHUNK) as (bench, workers):
        started_at = time.monotonic()
        start_all(bench, runs)
        bench.finish()
        seconds = time.monotonic() - started_at
        return {
            **about("io", workers),
            "runs": runs,
            "executionsPerSecond": round(runs / seconds, 1),
            "idealPerSecond": 400,
            "peakRssMb": workers.peak_rss_mb(),
        }


def backlog(runs: int) -> dict[str, Any]:
    """Measure claiming a batch while many messages wait, and in a nearly empty queue."""
    bench = Workbench.make(TRIVIAL, steps=1, threads=1, size=runs + CHUNK, paused=True)
    try:
        start_all(bench, CHUNK)
        few = claim_milliseconds(bench)
        start_all(bench, runs - CHUNK)
        many = claim_milliseconds(bench)
    finally:
        bench.remove()
    return {
        "workload": "backlog",
        "database": connection.vendor,
        "runs": runs,
        "claimMs": {"waiting1000": few, f"waiting{runs}": many},
    }


def tasks(runs: int) -> dict[str, Any]:
    """Measure single runs of a trivial flow beside twenty long tasks of django-q2."""
    with workbench(TRIVIAL, steps=1, threads=4, size=runs + CHUNK) as (bench, workers):
        alone = [one_run(bench, number) for number in range(LATENCY_RUNS)]
        with long_tasks() as waiting:
            beside = []
            for number in range(runs):
                beside.append(one_run(bench, number))
                time.sleep(BETWEEN_RUNS_SECONDS)
            left = waiting.count()
        return {
            **about("tasks", workers),
            "taskWorkers": settings.ASYNCENGINE_TASK_WORKERS,
            "runs": runs,
            "tasks": LONG_TASKS,
            "tasksLeft": left,
            "latencyMs": percentiles(beside),
            "latencyAloneMs": percentiles(alone),
        }


@contextmanager
def long_tasks() -> Iterator[QuerySet[OrmQ]]:
    """Queue long tasks; yield those that have not ended, and remove them afterwards."""
    broker = get_broker()
    task: dict[str, Any] = {
        "name": "bench",
        "func": "flows.benchmark.long_task",
        "args": (),
        "kwargs": {},
    }
    task |= {"started": timezone.now(), "save": False}
    ids = [
        broker.enqueue(SignedPackage.dumps({**task, "id": secrets.token_hex(16)}))
        for _ in range(LONG_TASKS)
    ]
    rows = OrmQ.objects.filter(pk__in=ids)
    try:
        yield rows
    finally:
        rows.delete()


def long_task() -> None:
    """Keep a worker busy for some seconds, as the function of a django-q2 task."""
    time.sleep(LONG_TASK_SECONDS)


WORKLOADS: dict[str, tuple[Callable[..., dict[str, Any]], int]] = {
    "flow3": (flow3, 20_000),
    "io": (io, 2_000),
    "backlog": (backlog, 1_000_000),
    "tasks": (tasks, 200),
}


@dataclass
class Workers:
    """The cluster that does the work: one that was running, or one started for the bench."""

    process: subprocess.Popen[bytes] | None

    def peak_rss_mb(self) -> float | None:
        """Return the sum of the processes' peaks; None for a cluster that was running before."""
        if self.process is None:
            return None
        return round(sum(map(peak_rss_kb, family(self.process.pid))) / 1024, 1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


@contextmanager
def workbench(
    code: str, steps: int, threads: int, size: int, keep: str = Keep.EVERYTHING
) -> Iterator[tuple[Workbench, Workers]]:
    bench = Workbench.make(code, steps, threads, size)
    Flow.objects.filter(pk=bench.flow.pk).update(keep=keep)
    workers = Workers(None)
    try:
        engine.start(bench.name, payload(0))
        if not became_true(bench.is_done, seconds=2):
            workers = Workers(subprocess.Popen(managed("qcluster"), stdout=subprocess.DEVNULL))
        bench.finish()
        warm_up(bench)
        yield bench, workers
    finally:
        workers.stop()
        bench.remove()


def warm_up(bench: Workbench) -> None:
    """Let every worker start its script hosts, so that the figures show the steady state."""
    for _ in range(3):
        start_all(bench, 200)
        bench.finish()
    StepRun.objects.filter(run__in=bench.runs())._raw_delete("default")
    bench.runs()._raw_delete("default")


def start_all(bench: Workbench, runs: int) -> None:
    for first in range(0, runs, CHUNK):
        engine.start_many(bench.name, map(payload, range(first, min(first + CHUNK, runs))))


def one_run(bench: Workbench, number: int) -> float:
    """Return the milliseconds from the start call to the end of a run, polled every 0.5 ms."""
    started_at = time.perf_counter()
    run = engine.start(bench.name, payload(number))
    wait_until(lambda: is_completed(run.correlation_id), every=0.0005)
    return (time.perf_counter() - started_at) * 1000


def is_completed(correlation_id: UUID) -> bool:
    return Run.objects.filter(pk=correlation_id, status=Run.Status.COMPLETED).exists()


def claim_milliseconds(bench: Workbench) -> float:
    """Return the median milliseconds of claiming 100 messages, each claim rolled back."""
    plan = flow_plan(bench.name).require_runnable()
    Queue.objects.filter(pk=plan.queue_id).update(paused=False)
    times = []
    for _ in range(20):
        with transaction.atomic():
            lease = bench_lease(plan)
            started_at = time.perf_counter()
            store().claim(lease, lambda plan, threads: 100)
            times.append((time.perf_counter() - started_at) * 1000)
            transaction.set_rollback(True)
    Queue.objects.filter(pk=plan.queue_id).update(paused=True)
    return round(statistics.median(times), 3)


def bench_lease(plan: StepPlan) -> Lease:
    consumer_id = store().open_consumer(plan.queue_id, 1, "bench", "bench")
    assert consumer_id is not None
    return store().begin(consumer_id, os.getpid())


def about(workload: str, workers: Workers) -> dict[str, Any]:
    return {
        "workload": workload,
        "database": connection.vendor,
        "workers": settings.ASYNCENGINE_WORKERS,
    }


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(milliseconds)
    return {
        "p50": round(statistics.median(ordered), 1),
        "p95": round(ordered[int(len(ordered) * 0.95) - 1], 1),
    }


def wait_until(condition: Callable[[], bool], every: float) -> None:
    if not became_true(condition, DEADLINE_SECONDS, every):
        raise BenchFailed(f"not finished after {DEADLINE_SECONDS} seconds")


def became_true(condition: Callable[[], bool], seconds: float, every: float = 0.02) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def family(pid: int) -> list[int]:
    """Return a process and all its descendants. Linux only; elsewhere the process alone."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        children += map(int, task.read_text().split())
    return [pid, *(member for child in children for member in family(child))]


def peak_rss_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(ln.split()[1]) for ln in status.splitlines() if ln.startswith("VmHWM")), 0)

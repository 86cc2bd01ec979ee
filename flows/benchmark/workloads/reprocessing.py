"""Bulk reprocessing of dead letters whose scripts work now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from flows.benchmark.figures import Figures
from flows.benchmark.letters import make_letters
from flows.benchmark.scripts import TRIVIAL
from flows.benchmark.waiting import BenchFailed, wait_until
from flows.benchmark.workbench import CHUNK, BenchStep, Workbench, delete_at_once, workbench
from flows.benchmark.workers import workers_for
from flows.benchmark.workload import Options
from flows.dead_letters import DeadLetterFilter
from flows.models import ReprocessedLetter, Reprocessing
from flows.tasks.reprocessing import reprocess_many


def measure(options: Options) -> Figures:
    """Its `runs` are dead letters. It ends when the last of their runs has ended."""
    with (
        workbench([BenchStep(TRIVIAL)], options.runs + CHUNK) as bench,
        removed() as made,
        workers_for(bench),
    ):
        make_letters(bench, options.runs)
        started_at = time.monotonic()
        one = reprocess_all(bench)
        made.append(one)
        requeued = Reprocessing.objects.filter(pk=one.pk, reprocessed=options.runs)
        wait_until(lambda: requeued.exists() or has_stopped(one))
        requeued_seconds = time.monotonic() - started_at
        wait_until(requeued.filter(state=Reprocessing.State.FINISHED).exists)
        seconds = time.monotonic() - started_at
        one.refresh_from_db()
        if one.completed != options.runs:
            raise BenchFailed(f"{one.completed} of {options.runs} runs completed: {one.note}")
        return {
            "deadLetters": options.runs,
            "requeuedPerSecond": round(options.runs / requeued_seconds),
            "completedPerSecond": round(options.runs / seconds),
        }


def reprocess_all(bench: Workbench) -> Reprocessing:
    letters = DeadLetterFilter(flow_name=bench.name)
    matched = reprocess_many(letters, sample=0, reason="manage.py bench")
    assert matched.reprocessing is not None
    return matched.reprocessing


def has_stopped(one: Reprocessing) -> bool:
    """Raises BenchFailed if it has."""
    one.refresh_from_db()
    if one.state == Reprocessing.State.STOPPED:
        raise BenchFailed(one.note)
    return False


@contextmanager
def removed() -> Iterator[list[Reprocessing]]:
    """Yield a list; what is in it afterwards is removed."""
    made: list[Reprocessing] = []
    try:
        yield made
    finally:
        ids = [each.pk for each in made]
        delete_at_once(ReprocessedLetter.objects.filter(reprocessing__in=ids))
        delete_at_once(Reprocessing.objects.filter(pk__in=ids))

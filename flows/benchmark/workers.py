"""The cluster that does the work of a workload."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from flows import engine
from flows.benchmark.family import family
from flows.benchmark.memory import peak_rss_mb
from flows.benchmark.waiting import became_true
from flows.benchmark.workbench import Workbench, payload
from flows.up.supervisor import Child, managed

# A cluster that runs takes a start within this time.
RUNNING_SECONDS = 2.0
STOP_SECONDS = 60.0


class Workers:
    """One that was running, or one started for the bench."""

    def __init__(self, child: Child | None) -> None:
        self._child = child

    def peak_rss_mb(self) -> float | None:
        """Return the sum of the processes' peaks; None for a cluster that was running before."""
        return peak_rss_mb(self._processes()) if self._child else None

    def stop(self) -> None:
        if self._child:
            self._child.stop()
            self._child.wait(STOP_SECONDS)

    def _processes(self) -> list[int]:
        assert self._child is not None
        assert self._child.process is not None
        return family(self._child.process.pid)


@contextmanager
def workers_for(bench: Workbench) -> Iterator[Workers]:
    """Have a cluster work for the flow: the one that runs, or one that ends with the block.

    Its workers are in their steady state, and the flow has no runs.
    """
    workers = Workers(None)
    try:
        engine.start(bench.name, payload(0))
        if not became_true(bench.is_done, RUNNING_SECONDS):
            child = Child("cluster", managed("qcluster"), output=subprocess.DEVNULL)
            child.start()
            workers = Workers(child)
        bench.finish()
        warm_up(bench)
        yield workers
    finally:
        workers.stop()


def warm_up(bench: Workbench) -> None:
    """Let every worker start its script hosts, so that the figures show the steady state."""
    for _ in range(3):
        bench.start_all(200)
        bench.finish()
    bench.forget_runs()

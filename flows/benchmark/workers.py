"""The cluster that does the work of a workload."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from django.conf import settings

from flows import engine
from flows.benchmark.family import family
from flows.benchmark.figures import Figures
from flows.benchmark.memory import SAMPLE_SECONDS, PeakPss, peak_rss_mb
from flows.benchmark.waiting import BenchFailed, became_true
from flows.benchmark.workbench import Workbench, payload
from flows.starts import Payload
from flows.up.children import cluster
from flows.up.supervisor import Child

# A cluster that runs takes a start within this time.
RUNNING_SECONDS = 2.0
STOP_SECONDS = 60.0
# Seconds between samples of the memory where the cores are to be the scripts'.
SELDOM = 5.0


class Workers:
    """One that was running, or one started for the bench."""

    def __init__(self, child: Child | None = None) -> None:
        self._child = child
        self._pss = PeakPss({"workers": self.processes})

    def memory(self) -> Figures:
        """Return the peaks so far; None for a cluster that was running before."""
        if self._child is None:
            return {"peakRssMb": None, "peakPssMb": None}
        return {"peakRssMb": peak_rss_mb(self.processes()), "peakPssMb": self._pss.mb()}

    @contextmanager
    def watched(self, every: float = SAMPLE_SECONDS) -> Iterator[None]:
        """Sample the memory of the cluster meanwhile, where it was started for the bench.

        It takes processor time: a sample every half a second takes 4 % of a core.
        """
        with ExitStack() as stack:
            if self._child:
                self._pss.every = every
                stack.enter_context(self._pss)
            yield

    def stop(self) -> None:
        if self._child:
            self._child.stop()
            self._child.wait(STOP_SECONDS)

    def processes(self) -> list[int]:
        """Return the processes of the cluster, which must be our own."""
        assert self._child is not None
        return family(self._child.pid)


def require_no_cluster(bench: Workbench) -> None:
    """Start a run, and raise BenchFailed if a cluster takes it."""
    engine.start(bench.name, payload(0))
    if became_true(bench.is_done, RUNNING_SECONDS):
        raise BenchFailed("a cluster is running, which would be measured too: stop it first")


@contextmanager
def workers_for(bench: Workbench) -> Iterator[Workers]:
    """Have a cluster work for the flow: the one that runs, or one that ends with the block.

    Its workers are in their steady state, and the flow has no runs.
    """
    with running_cluster(bench) as workers:
        warm_up(bench)
        yield workers


@contextmanager
def running_cluster(bench: Workbench, first: Payload | None = None) -> Iterator[Workers]:
    """Start a run and have a cluster that ends it; it may just have been started."""
    workers = Workers()
    try:
        engine.start(bench.name, first or payload(0))
        if not became_true(bench.is_done, RUNNING_SECONDS):
            child = cluster(settings.ASYNCENGINE_WORKERS)
            child.output = subprocess.DEVNULL
            workers = Workers(child)
            child.start()
        bench.finish()
        yield workers
    finally:
        workers.stop()


def warm_up(bench: Workbench) -> None:
    """Let every worker start its script hosts, so that the figures show the steady state."""
    for _ in range(3):
        bench.start_all(200)
        bench.finish()
    bench.forget_runs()

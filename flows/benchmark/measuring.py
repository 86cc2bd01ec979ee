"""Run a workload and put what is known of machine and installation beside its figures."""

from __future__ import annotations

from django.conf import settings
from django.db import connection

from flows.benchmark.figures import Figures
from flows.benchmark.noise import NoiseMeter
from flows.benchmark.workload import Options, Workload


def figures_of(name: str, workload: Workload, options: Options) -> Figures:
    """Run the workload. Raises BenchFailed."""
    noise = NoiseMeter()
    measured = workload.measure(options)
    return {
        "workload": name,
        "database": connection.vendor,
        "workers": settings.ASYNCENGINE_WORKERS,
        **measured,
        "noise": noise.figures(),
    }

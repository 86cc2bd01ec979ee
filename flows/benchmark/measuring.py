"""Run a workload and put what is known of the installation beside its figures."""

from __future__ import annotations

from django.conf import settings
from django.db import connection

from flows.benchmark.figures import Figures
from flows.benchmark.workload import Options
from flows.benchmark.workloads import WORKLOADS


def figures_of(name: str, options: Options) -> Figures:
    """Run the workload. Raises BenchFailed."""
    return {
        "workload": name,
        "database": connection.vendor,
        "workers": settings.ASYNCENGINE_WORKERS,
        **WORKLOADS[name].measure(options),
    }

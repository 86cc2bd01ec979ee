"""The metrics, as they are given to Prometheus."""

from __future__ import annotations

from flows.documentation.tables import table
from flows.monitoring.metrics import families

UNITS = {"_seconds": "seconds", "_timestamp_seconds": "seconds since 1970", "_messages": "messages"}
BEGIN = """\
# Metrics

`GET /async/metrics` gives these, and `manage.py push_metrics` pushes them. How to scrape them, the
dashboard and what is exact is said under
[Monitoring](../../asyncengine/deploy/monitoring/README.md). Labels have the names of flows, steps
and queues, and fixed words.

"""


def text() -> str:
    rows = []
    for family in families():
        end = "_total" if family.type == "counter" else ""
        labels = ", ".join(f"`{label}`" for label in getattr(family, "_labelnames", ()))
        units = [unit for suffix, unit in UNITS.items() if family.name.endswith(suffix)]
        unit = (units or [""])[-1]
        rows.append((f"`{family.name}{end}`", family.type, unit, labels, family.documentation))
    return BEGIN + table(("metric", "type", "unit", "labels", "meaning"), rows)

"""The rules of home, alerts and `doctor`, and those for Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from flows.documentation.tables import table
from flows.monitoring.health import RULES

FILE = Path(__file__).resolve().parents[3] / "asyncengine/deploy/monitoring/alerts.yml"
TEXT = """\
# Alarms

## Rules of the engine

One set of rules is behind the alarms of home, the [alerts](../../asyncengine/README.md#alerts) and
`manage.py doctor`. Each alarm says what is the matter and what to do. Times, counts and shares are
those of the engine; you may set [others](../../asyncengine/README.md#thresholds-of-alarms).

{rules}
## Rules for Prometheus

`asyncengine/deploy/monitoring/alerts.yml`, for those who have
[Prometheus](../../asyncengine/deploy/monitoring/README.md).

{alerts}"""


def text() -> str:
    rules = [(f"`{name}`", rule.__doc__ or "") for name, rule in RULES.items()]
    alerts = [
        (
            f"`{each['alert']}`",
            each["labels"]["severity"],
            each.get("for", ""),
            f"`{' '.join(each['expr'].split())}`",
        )
        for each in rules_for_prometheus()
    ]
    head = ("alert", "severity", "lasting", "where")
    return TEXT.format(rules=table(("rule", "when"), rules), alerts=table(head, alerts))


def rules_for_prometheus() -> list[dict[str, Any]]:
    document = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]

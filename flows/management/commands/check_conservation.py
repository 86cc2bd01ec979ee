import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from flows.monitoring.conservation import (
    Conservation,
    FlowConservation,
    QueueConservation,
    Stale,
    check,
    document,
    oldest_without_progress,
)
from scripts.checks import ENGINE

FLOW_COLUMNS = ("accepted", "waiting", "delayed", "running", "completed", "failed", "cancelled")
QUEUE_COLUMNS = ("depth", "waiting", "held", "reserved", "coming")


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = (
        "Checks that nothing was lost: accepted = waiting + delayed + running + completed + failed"
        " + cancelled for every flow, and that the counters of every queue agree with the rows."
        " Exits 1 if they differ."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print JSON alone.")
        parser.add_argument(
            "--max-age",
            type=float,
            metavar="SECONDS",
            help="Also exit 1 if a ready message has waited for longer.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        checked, oldest = check(), oldest_without_progress()
        faults = [
            f"{each.kind} {each.name}: {fault}" for each in checked for fault in each.faults()
        ]
        if too_old := _too_old(oldest, options["max_age"]):
            faults.append(too_old)
        if options["json"]:
            self.stdout.write(json.dumps(_report(checked, oldest, faults)))
        else:
            self.stdout.write(_tables(checked, oldest))
        if faults:
            raise CommandError("\n".join(faults))


def _too_old(oldest: Stale | None, max_age: float | None) -> str:
    if oldest is None or max_age is None or oldest.age.total_seconds() <= max_age:
        return ""
    return f"{_sentence(oldest)}, longer than {max_age:g} s"


def _sentence(oldest: Stale) -> str:
    where = f"the queue {oldest.queue_name}" + (", which is paused," if oldest.paused else "")
    age = oldest.age.total_seconds()
    return f"{oldest.correlation_id} has been ready in {where} for {age:.1f} s"


def _report(checked: list[Conservation], oldest: Stale | None, faults: list[str]) -> dict[str, Any]:
    stale = oldest and {
        "correlationId": str(oldest.correlation_id),
        "queueName": oldest.queue_name,
        "ageSeconds": round(oldest.age.total_seconds(), 3),
        "paused": oldest.paused,
    }
    documents = [document(each) for each in checked]
    return {
        "balanced": not any(each.faults() for each in checked),
        "flows": [d for d in documents if d["kind"] == FlowConservation.kind],
        "queues": [d for d in documents if d["kind"] == QueueConservation.kind],
        "oldestWithoutProgress": stale,
        "faults": faults,
    }


def _tables(checked: list[Conservation], oldest: Stale | None) -> str:
    flows = [each for each in checked if isinstance(each, FlowConservation)]
    queues = [each for each in checked if isinstance(each, QueueConservation)]
    return "\n".join(
        [
            *_table("flow", FLOW_COLUMNS, flows),
            "",
            *_table("queue", QUEUE_COLUMNS, queues),
            "",
            f"Oldest without progress: {_sentence(oldest) if oldest else 'none'}",
        ]
    )


def _table(title: str, columns: Sequence[str], checked: Sequence[Conservation]) -> list[str]:
    width = max([len(title), *(len(each.name) for each in checked)])
    head = f"{title:{width}}  " + "  ".join(f"{column:>10}" for column in columns)
    lines = (
        f"{each.name:{width}}  "
        + "  ".join(f"{getattr(each, column):>10}" for column in columns)
        + ("  OFF" if each.faults() else "")
        for each in checked
    )
    return [head, *lines]

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from flows.monitoring.conservation import (
    Balance,
    FlowBalance,
    QueueBalance,
    Stale,
    check,
    document,
    oldest_without_progress,
)

FLOW_COLUMNS = ("accepted", "waiting", "delayed", "running", "completed", "failed", "cancelled")
QUEUE_COLUMNS = ("depth", "waiting", "held", "reserved", "coming")


class Command(BaseCommand):
    help = (
        "Checks that nothing was lost: accepted = waiting + delayed + running + completed + failed"
        " + cancelled for every flow, and the counters of every queue, against the rows. Exits 1"
        " when something is off."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print JSON alone.")
        parser.add_argument(
            "--max-age",
            type=float,
            metavar="SECONDS",
            help="Exit 1 as well when a message has been ready and waited for longer.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        balances, oldest = check(), oldest_without_progress()
        faults = [f"{b.kind} {b.name}: {fault}" for b in balances for fault in b.faults()]
        if too_old := _too_old(oldest, options["max_age"]):
            faults.append(too_old)
        if options["json"]:
            self.stdout.write(json.dumps(_report(balances, oldest, faults)))
        else:
            self.stdout.write(_tables(balances, oldest))
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


def _report(balances: list[Balance], oldest: Stale | None, faults: list[str]) -> dict[str, Any]:
    stale = oldest and {
        "correlationId": str(oldest.correlation_id),
        "queueName": oldest.queue_name,
        "ageSeconds": round(oldest.age.total_seconds(), 3),
        "paused": oldest.paused,
    }
    documents = [document(balance) for balance in balances]
    return {
        "balanced": not any(balance.faults() for balance in balances),
        "flows": [d for d in documents if d["kind"] == FlowBalance.kind],
        "queues": [d for d in documents if d["kind"] == QueueBalance.kind],
        "oldestWithoutProgress": stale,
        "faults": faults,
    }


def _tables(balances: list[Balance], oldest: Stale | None) -> str:
    flows = [b for b in balances if isinstance(b, FlowBalance)]
    queues = [b for b in balances if isinstance(b, QueueBalance)]
    return "\n".join(
        [
            *_table("flow", FLOW_COLUMNS, flows),
            "",
            *_table("queue", QUEUE_COLUMNS, queues),
            "",
            f"Oldest without progress: {_sentence(oldest) if oldest else 'none'}",
        ]
    )


def _table(title: str, columns: Sequence[str], balances: Sequence[Balance]) -> list[str]:
    width = max([len(title), *(len(balance.name) for balance in balances)])
    head = f"{title:{width}}  " + "  ".join(f"{column:>10}" for column in columns)
    lines = (
        f"{balance.name:{width}}  "
        + "  ".join(f"{getattr(balance, column):>10}" for column in columns)
        + ("  OFF" if balance.faults() else "")
        for balance in balances
    )
    return [head, *lines]

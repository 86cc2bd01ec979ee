from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from flows.tasks.retention import purge, purgeable


class Command(BaseCommand):
    help = (
        "Deletes the finished runs that are older than their flow keeps them, idempotency keys"
        " older than a day, and bearer tokens that have expired. The workers do so by themselves"
        " every ten minutes."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="Print what would go and delete nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["dry_run"]:
            self.stdout.write(f"Runs purged: {purge(budget_seconds=None)}")
            return
        found = purgeable()
        for (flow_name, status), count in sorted(found.items()):
            self.stdout.write(f"{flow_name}  {status}  {count}")
        self.stdout.write(f"Runs to be purged: {found.total()}")

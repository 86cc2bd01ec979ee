from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from flows.tasks.retention import purge, purgeable
from scripts.checks import ENGINE


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = (
        "Deletes finished runs after the retention of their flow, idempotency keys after a day,"
        " and expired bearer tokens. The workers do the same every ten minutes."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Print what would be deleted, and delete nothing.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["dry_run"]:
            self.stdout.write(f"Runs purged: {purge(budget_seconds=None)}")
            return
        found = purgeable()
        for (flow_name, status), count in sorted(found.items()):
            self.stdout.write(f"{flow_name}  {status}  {count}")
        self.stdout.write(f"Runs to be purged: {found.total()}")

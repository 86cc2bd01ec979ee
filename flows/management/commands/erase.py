from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from flows.erasure.erasing import Selection, erase_everywhere, preview_everywhere
from flows.errors import FlowError
from flows.models.run_label import label_fault
from scripts.checks import ENGINE


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = (
        "Erases the payloads of a run, or of all runs with a label, everywhere they are, with those"
        " of the runs that repeat them or were started by their scripts. The runs stay. A command"
        " that was killed is repeated, and goes on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        selection = parser.add_mutually_exclusive_group(required=True)
        selection.add_argument("--correlation-id", metavar="ID", type=UUID, help="Of this run.")
        selection.add_argument("--label", metavar="KEY:VALUE", help="Of all runs with this label.")
        parser.add_argument(
            "--dry-run", action="store_true", help="Print what would be erased, and erase nothing."
        )
        parser.add_argument(
            "--reason", metavar="TEXT", default="", help="Why; it stays in the audit log."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        selection = Selection(options["correlation_id"], _label(options["label"]))
        try:
            if options["dry_run"]:
                found = preview_everywhere(selection)
            else:
                found = erase_everywhere(selection, reason=options["reason"])
        except (FlowError, OSError) as error:
            raise CommandError(str(error)) from error
        if not found.runs and not found.places:
            raise CommandError(f"There is no run with the {selection}.")
        for name, count in sorted(found.places.items()):
            self.stdout.write(f"{name}  {count}")
        if options["dry_run"]:
            self.stdout.write(f"Runs to be erased: {found.runs - found.erased} of {found.runs}")
        else:
            self.stdout.write(f"Runs erased: {found.erased} of {found.runs}")


def _label(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    key, colon, value = text.partition(":")
    if fault := "a label is key:value" if not colon else label_fault(key, value):
        raise CommandError(f"--label: {fault}.")
    return key, value

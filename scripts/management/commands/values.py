from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from scripts.checks import ENGINE
from scripts.models import ConfigurationValue


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = (
        "Shows and changes the values of this installation, which scripts read as context.config."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="Print names and values.")
        change = verbs.add_parser("set", help="Enter a value, or change it.")
        change.add_argument("name", metavar="NAME")
        change.add_argument(
            "value", metavar="VALUE", nargs="?", help="Default: what standard input has."
        )
        change.add_argument("--description", metavar="TEXT", help="What it is for.")
        verbs.add_parser("delete", help="Delete a value.").add_argument("name", metavar="NAME")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verb"] == "list":
            for value in ConfigurationValue.objects.all():
                self.stdout.write(f"{value.name}={value.value}")
        elif options["verb"] == "set":
            self._set(options)
        else:
            gone = ConfigurationValue.objects.filter(name=options["name"]).first()
            if gone is None:
                raise CommandError(f"There is no value {options['name']!r}.")
            gone.delete()
            self.stdout.write(f"{gone.name} is deleted; running workers know it within 5 s.")

    @transaction.atomic
    def _set(self, options: dict[str, Any]) -> None:
        text = options["value"]
        if text is None:
            text = sys.stdin.read().removesuffix("\n")
        name = options["name"]
        value = ConfigurationValue.objects.filter(name=name).first() or ConfigurationValue(
            name=name
        )
        value.value = text
        if options["description"] is not None:
            value.description = options["description"]
        try:
            value.full_clean()
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        value.save()
        self.stdout.write(f"{name} is set; running workers read it within 5 s.")

from __future__ import annotations

import getpass
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from scripts.checks import ENGINE
from scripts.models import Secret


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = "Enters secrets of scripts. A value is never an argument, which others could see."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="Print the names, never the values.")
        change = verbs.add_parser(
            "set", help="Enter a secret, or change it: from standard input, or asked for."
        )
        change.add_argument("name", metavar="NAME")
        change.add_argument(
            "--description", metavar="TEXT", help="What it opens, and where a new one comes from."
        )

        change.add_argument(
            "--not-readable",
            action="store_true",
            help="For signatures and certificates alone: it enters no script.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verb"] == "list":
            for secret in Secret.objects.all():
                self.stdout.write(secret.name)
        else:
            self._set(options["name"], options["description"], options["not_readable"])

    @transaction.atomic
    def _set(self, name: str, description: str | None, not_readable: bool) -> None:
        secret = Secret.objects.filter(name=name).first() or Secret(name=name)
        if description is not None:
            secret.description = description
        if not_readable:
            secret.is_readable = False
        value = _value(name)
        if not value:
            raise CommandError("The value is empty; nothing was changed.")
        secret.set_value(value)
        try:
            secret.full_clean()
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        secret.save()
        self.stdout.write(f"{name} is set; running workers read it within 5 s.")


def _value(name: str) -> str:
    if sys.stdin.isatty():
        return getpass.getpass(f"Value of {name}: ")
    # The line end that `echo` adds is no part of it; those of a PEM text stay.
    text = sys.stdin.read()
    return text[:-1] if text.endswith("\n") and text.count("\n") == 1 else text

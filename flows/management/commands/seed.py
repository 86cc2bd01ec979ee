from argparse import ArgumentParser
from dataclasses import fields
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from flows.demo.seeding import Amounts, seed
from flows.models import Flow


class Command(BaseCommand):
    help = (
        "Fills an empty database with flows, finished runs, waiting messages and dead letters, to"
        " see how the Configuration Manager bears the number. Its queues are paused."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        for amount in fields(Amounts):
            parser.add_argument(f"--{amount.name}", type=int, default=amount.default)

    def handle(self, *args: Any, **options: Any) -> None:
        amounts = Amounts(**{amount.name: options[amount.name] for amount in fields(Amounts)})
        if min(amounts.runs, amounts.waiting, amounts.letters, amounts.traced) < 0:
            raise CommandError("an amount must not be negative")
        if amounts.queues < 1 or amounts.days < 1:
            raise CommandError("--queues and --days must be at least 1")
        if amounts.letters > amounts.runs:
            raise CommandError("each dead letter needs a run: --letters must not exceed --runs")
        if Flow.objects.filter(name__startswith="seed-").exists():
            raise CommandError("there are flows named seed-… already")
        seed(amounts, self.stdout.write)

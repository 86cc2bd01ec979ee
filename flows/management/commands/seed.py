from argparse import ArgumentParser
from dataclasses import fields
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from flows.demo.seeding import Amounts, seed
from flows.models import Flow

MADE = {
    "runs": "Finished runs.",
    "waiting": "Waiting messages.",
    "letters": "Of the finished runs those that have failed, with a dead letter each.",
    "queues": "Queues; each has a step.",
    "traced": "The newest finished runs that have a step run for each step.",
    "days": "The days that they are spread over.",
}


class Command(BaseCommand):
    help = (
        "Fills an empty database with flows, finished runs, waiting messages and dead letters, to"
        " see how the Configuration Manager bears the number. Its queues are paused."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        for amount in fields(Amounts):
            parser.add_argument(
                f"--{amount.name}", type=int, default=amount.default, help=MADE[amount.name]
            )

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

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from flows.benchmark.measuring import figures_of
from flows.benchmark.waiting import BenchFailed
from flows.benchmark.workload import Options
from flows.benchmark.workloads import WORKLOADS
from flows.models.keep import Keep


class Command(BaseCommand):
    help = "Measures this installation, with the running cluster or one that it starts itself."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workload", nargs="?", choices=sorted(WORKLOADS), default="flow3")
        parser.add_argument("--runs", type=int, help="Runs to start; each workload has a default.")
        parser.add_argument("--keep", choices=Keep.values, help="For flow3: the flow's setting.")
        parser.add_argument("--json", action="store_true", help="Print JSON alone.")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["workload"]
        runs = WORKLOADS[name].runs if options["runs"] is None else options["runs"]
        if runs < 1:
            raise CommandError("--runs must be at least 1")
        if options["keep"] and name != "flow3":
            raise CommandError("--keep is for flow3")
        call_command("migrate", interactive=False, verbosity=0)
        try:
            figures = figures_of(name, Options(runs, options["keep"] or Keep.EVERYTHING))
        except BenchFailed as error:
            raise CommandError(str(error)) from error
        self.stdout.write(json.dumps(figures) if options["json"] else as_text(figures))


def as_text(figures: dict[str, Any]) -> str:
    width = max(map(len, figures))
    return "\n".join(f"{name:{width}}  {value}" for name, value in figures.items())

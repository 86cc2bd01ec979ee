import json
import signal
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from flows.benchmark.comparison import Change, as_document, changes, earlier_of, outputs_in
from flows.benchmark.figures import Figures
from flows.benchmark.leftovers import remove_leftovers
from flows.benchmark.measuring import figures_of
from flows.benchmark.table import as_table
from flows.benchmark.waiting import BenchFailed, interrupted
from flows.benchmark.workload import Workload
from flows.benchmark.workloads import WORKLOADS
from flows.models.keep import Keep

ALL = "all"
LANGUAGES = ("python", "javascript")
INTERRUPTED = 130


class Command(BaseCommand):
    help = (
        "Measures this installation, with the running cluster or one that it starts itself."
        f" Workloads: {', '.join(WORKLOADS)}, or all."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("workload", nargs="*", help="One or more; flow3 where none is given.")
        parser.add_argument("--runs", type=int, help="Runs to start; each workload has a default.")
        parser.add_argument("--seconds", type=float, help="Length of a measurement by time.")
        parser.add_argument("--rounds", type=int, help="Rounds of what is measured in turn.")
        parser.add_argument("--keep", choices=Keep.values, help="For flow3: the flow's setting.")
        parser.add_argument("--language", choices=LANGUAGES, help="For flow3: of its scripts.")
        parser.add_argument("--json", action="store_true", help="Print JSON alone.")
        parser.add_argument(
            "--clear",
            action="store_true",
            help="Measure nothing: remove what killed ones have left, of other machines and before"
            " a reboot, too. While none runs.",
        )
        parser.add_argument("--compare", metavar="FILE", help="JSON that was printed earlier.")

    def handle(self, *args: Any, **options: Any) -> None:
        workloads = chosen(options["workload"] or ["flow3"])
        check_numbers(options)
        for name in ("keep", "language"):
            if options[name] and "flow3" not in workloads:
                raise CommandError(f"--{name} is for flow3")
        earlier = read_earlier(options["compare"]) if options["compare"] else []
        call_command("migrate", interactive=False, verbosity=0)
        if left := remove_leftovers(anywhere=options["clear"]):
            self.stderr.write(f"Removed what killed ones have left: {', '.join(left)}.")
        if options["clear"]:
            return
        with stopped_by_signals():
            outputs = self._measure(workloads, options, earlier)
        if options["json"] and outputs:
            self.stdout.write(json.dumps(outputs if len(workloads) > 1 else outputs[0]))
        if len(outputs) < len(workloads):
            raise CommandError("not every workload was measured")

    def _measure(
        self, workloads: dict[str, Workload], options: dict[str, Any], earlier: list[Figures]
    ) -> list[Figures]:
        """Measure one after the other, and go on after one that fails."""
        given = [options[name] for name in ("runs", "seconds", "rounds", "keep", "language")]
        outputs = []
        for name, workload in workloads.items():
            try:
                figures = figures_of(name, workload, workload.options(*given))
            except BenchFailed as error:
                self.stderr.write(f"{name}: {error}")
                continue
            for warning in figures["noise"]["warnings"]:
                self.stderr.write(f"{name}: the machine is noisy: {warning}")
            found = compare(figures, earlier)
            if not options["json"]:
                self.stdout.write(as_table(figures, found) + "\n")
            outputs.append(figures | ({"compared": as_document(found)} if found else {}))
        return outputs


def chosen(names: list[str]) -> dict[str, Workload]:
    """Return the workloads of these names; of all, those that the database has."""
    if names == [ALL]:
        vendor = connection.vendor
        return {name: each for name, each in WORKLOADS.items() if vendor in each.databases}
    for name in names:
        if name not in WORKLOADS:
            raise CommandError(f"There is no workload {name!r}: {', '.join(WORKLOADS)}, or all.")
        if connection.vendor not in WORKLOADS[name].databases:
            raise CommandError(f"{name} is not for {connection.vendor}")
    return {name: WORKLOADS[name] for name in names}


def check_numbers(options: dict[str, Any]) -> None:
    for name in ("runs", "rounds"):
        if options[name] is not None and options[name] < 1:
            raise CommandError(f"--{name} must be at least 1")
    if options["seconds"] is not None and options["seconds"] <= 0:
        raise CommandError("--seconds must be more than 0")


def read_earlier(path: str) -> list[Figures]:
    try:
        return outputs_in(json.loads(Path(path).read_text()))
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} cannot be compared with: {error}") from error


def compare(figures: Figures, earlier: list[Figures]) -> list[Change]:
    before = earlier_of(earlier, figures)
    return changes(figures, before) if before else []


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Have SIGTERM and Ctrl+C end the block once: what was made is being removed then.

    Raises CommandError after either.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def stop(*args: Any) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        interrupted.set()
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt:
        message = "interrupted; what was made is removed"
        raise CommandError(message, returncode=INTERRUPTED) from None
    finally:
        interrupted.clear()
        for number, handler in before.items():
            signal.signal(number, handler)

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from flows.errors import PayloadUnreadable
from flows.models import Run
from flows.monitoring.trace import trace
from scripts.checks import ENGINE

PAUSE_SECONDS = 0.5

# A step, branch and attempt, whose lines are printed as they come.
Place = tuple[str, str | None, int]


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = "Shows what the scripts of a run have logged."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        logs = verbs.add_parser(
            "logs", help="Print the log lines of every attempt, and how each attempt ended."
        )
        logs.add_argument("id", metavar="ID", type=UUID)
        logs.add_argument(
            "--follow", action="store_true", help="Go on until the run has ended, as lines come."
        )
        logs.add_argument("--step", metavar="STEP", help="Of this step alone.")
        logs.add_argument("--json", action="store_true", help="Print one JSON object a line.")

    def handle(self, *args: Any, **options: Any) -> None:
        printed = Printed(options["step"])
        try:
            while True:
                run = self._run(options["id"])
                for line in printed.news(trace(run)):
                    self.stdout.write(json.dumps(line) if options["json"] else _text(line))
                if not options["follow"] or run.status in Run.FINISHED:
                    return
                self.stdout.flush()
                time.sleep(PAUSE_SECONDS)
        except PayloadUnreadable as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            return

    def _run(self, pk: UUID) -> Run:
        runs = Run.objects.select_related("flow_version").defer(*Run.PAYLOADS)
        run = runs.filter(pk=pk).first()
        if run is None:
            raise CommandError(f"There is no run {pk}.")
        return run


class Printed:
    """What was printed of a run, so that each line comes once."""

    def __init__(self, step: str | None) -> None:
        self._step = step
        self._lines: dict[Place, list[dict[str, Any]]] = {}
        self._ended: set[Place] = set()

    def news(self, document: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Return the lines, and the ends of attempts, that are new in a trace."""
        for step in document["steps"]:
            if self._step in (None, step["name"]):
                for attempt in step["attempts"]:
                    yield from self._of_attempt(step["name"], attempt)

    def _of_attempt(self, step: str, attempt: dict[str, Any]) -> Iterator[dict[str, Any]]:
        place = step, attempt["branch"], attempt["attempt"]
        about = {"step": step, "branch": attempt["branch"], "attempt": attempt["attempt"]}
        for line in self._new(self._lines.get(place, []), attempt["logs"]):
            yield {**about, **line}
        self._lines[place] = attempt["logs"]
        if attempt["finishedAt"] and place not in self._ended:
            self._ended.add(place)
            end = {"outcome": attempt["outcome"], "error": attempt["error"]}
            yield {**about, "at": attempt["finishedAt"], **end}

    @staticmethod
    def _new(known: list[dict[str, Any]], lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if lines[: len(known)] == known:
            return lines[len(known) :]
        # Lines in the middle were left out since.
        return [line for line in lines if line not in known]


def _text(line: dict[str, Any]) -> str:
    place = line["step"] + (f" [{line['branch']}]" if line["branch"] else "")
    if "outcome" in line:
        error = (line["error"] or "").strip().replace("\n", "\n    ")
        said = line["outcome"] + (f": {error}" if error else "")
    else:
        said = f"{line['level']}: {line['text']}"
    return f"{line.get('at') or ''}  {place} #{line['attempt']}  {said}".lstrip()

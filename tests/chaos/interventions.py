"""An operator who cancels, pauses, resumes and reprocesses at random, until SIGTERM.

    python -m tests.chaos.interventions HISTORY

Notes what it is about to do with a run, and what came of it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING:
    from flows.models import Run

PAUSE_SECONDS = (0.1, 0.5)
LONGEST_PAUSE_OF_A_QUEUE = 1.5
LEADS_TO = {"cancel": "CANCELLED", "reprocess": "COMPLETED"}


def main() -> None:
    django.setup()
    from django.db import InterfaceError, OperationalError, connection

    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    operator = Operator(Path(sys.argv[1]), os.environ["CHAOS_SEED"], stopping)
    while not stopping.wait(operator.rng.uniform(*PAUSE_SECONDS)):
        try:
            operator.intervene()
        except (OperationalError, InterfaceError):
            connection.close()
    operator.resume_all()


class Operator:
    def __init__(self, path: Path, seed: str, stopping: threading.Event) -> None:
        self.path = path
        self.rng = random.Random(f"operator {seed}")
        self.stopping = stopping
        self.has_paused = False

    def cancel(self) -> None:
        from flows import engine
        from flows.models import Run

        under_way = Run.objects.filter(status__in=["QUEUED", "RUNNING"])
        if run := under_way.exclude(flow_version__flow_name="slow").order_by("?").first():
            self.note("cancel", run, "")
            self.note("cancel", run, engine.cancel(run).status)

    def reprocess(self) -> None:
        """Requeue a dead letter with a payload that its script does not reject."""
        from flows import engine
        from flows.errors import FlowError
        from flows.models import DeadLetter

        if letter := DeadLetter.objects.open().order_by("?").first():
            payload = json.loads(letter.body)["payload"] | {"n": 1}
            self.note("reprocess", letter.run, "")
            try:
                engine.reprocess(letter, payload=payload)
            except FlowError:
                return
            self.note("reprocess", letter.run, "COMPLETED")

    def pause_for_a_while(self) -> None:
        from flows import engine
        from flows.models import Flow, Queue

        target = self.rng.choice([*Flow.objects.all(), *Queue.objects.all()])
        self.has_paused = True
        engine.pause(target)
        self.stopping.wait(self.rng.uniform(0, LONGEST_PAUSE_OF_A_QUEUE))
        self.resume_all()

    def intervene(self) -> None:
        if self.has_paused:
            self.resume_all()
        self.rng.choice([self.cancel, self.reprocess, self.pause_for_a_while])()

    def resume_all(self) -> None:
        """Resume everything, also what was paused when the database went away."""
        from flows import engine
        from flows.models import Flow, Queue

        for target in (*Flow.objects.all(), *Queue.objects.all()):
            engine.resume(target)
        self.has_paused = False

    def note(self, verb: str, run: Run, status: str) -> None:
        with self.path.open("a") as file:
            line = {"verb": verb, "correlation_id": str(run.pk), "status": status}
            file.write(json.dumps(line) + "\n")


@dataclass
class Ends:
    """How a run may end because of the operator, and how it must."""

    possible: set[str] = field(default_factory=set)
    certain: str = ""


def ends(path: Path) -> dict[str, Ends]:
    """Read what the operator has done to which runs."""
    found: dict[str, Ends] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        entry: dict[str, Any] = json.loads(line)
        of_run = found.setdefault(entry["correlation_id"], Ends())
        of_run.possible.add(LEADS_TO[entry["verb"]])
        # A run that was reprocessed may be cancelled later, one that was cancelled stays so.
        if entry["status"] == "CANCELLED":
            of_run.certain = "CANCELLED"
    return found


if __name__ == "__main__":
    main()

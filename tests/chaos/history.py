"""The history that is kept outside the system: which starts were answered with which run."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from pathlib import Path

from tests.chaos.checks import Accepted
from tests.chaos.scripts import fails


class History:
    """A file with a line for each answer; several writers have one each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()

    def note(self, key: str, flow: str, n: int, correlation_id: str) -> None:
        line = json.dumps(asdict(Accepted(key, correlation_id, flow, fails(flow, n))))
        with self.lock, self.path.open("a") as file:
            file.write(line + "\n")

    def read(self) -> list[Accepted]:
        if not self.path.exists():
            return []
        return [Accepted(**json.loads(line)) for line in self.path.read_text().splitlines()]

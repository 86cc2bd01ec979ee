import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def no_test_starts_a_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail where a test starts a process: it belongs to `tests/hosts`."""
    started: list[Any] = []
    begin, fork = subprocess.Popen.__init__, os.fork

    def note(process: Any, command: Any, *rest: Any, **options: Any) -> None:
        started.append(command)
        begin(process, command, *rest, **options)

    def note_fork() -> int:
        started.append("fork")
        return fork()

    monkeypatch.setattr(subprocess.Popen, "__init__", note)
    monkeypatch.setattr(os, "fork", note_fork)
    yield
    assert started == []

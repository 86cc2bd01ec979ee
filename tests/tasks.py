"""Functions of a project's own that serve as django-q2 tasks in tests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django_q.models import Task


def hold(directory: str, name: str) -> str:
    """Leave a mark, then keep the worker until the test has made the file `released`."""
    place = Path(directory)
    (place / f"{name}.began").touch()
    while not (place / "released").exists():
        time.sleep(0.02)
    (place / f"{name}.ended").touch()
    return name


def mark(directory: str, name: str) -> str:
    (Path(directory) / f"{name}.ended").touch()
    return name


def double(number: Any) -> Any:
    return 2 * number


def fail(reason: str) -> None:
    raise ValueError(reason)


def mark_by_hook(task: Task) -> None:
    (Path(task.args[0]) / f"hook-of-{task.name}").touch()

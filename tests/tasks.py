"""Functions of a project's own that serve as django-q2 tasks in tests."""

from __future__ import annotations

import builtins
import contextlib
import os
import sys
import threading
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


def exit_with(code: Any) -> None:
    sys.exit(code)


def raise_what_ends_a_process(name: str) -> None:
    raise getattr(builtins, name)("no more")


def die_by(number: int) -> None:
    os.kill(os.getpid(), number)


def leave_without_a_word(code: int) -> None:
    os._exit(code)


def outlive_the_time_limit(directory: str) -> None:
    """Go on after the time limit, as code does that catches everything."""
    while True:
        with contextlib.suppress(BaseException):
            hold(directory, "overdue")


def lock() -> Any:
    return threading.Lock()


def numbers() -> Any:
    return (number for number in range(3))


class Unreadable:
    """It is pickled, and fails when it is unpickled."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def unreadable() -> Unreadable:
    return Unreadable()


def keep_a_lock(given: list[Any]) -> str:
    given.append(threading.Lock())
    return "kept"


def exit_by_hook(task: Task) -> None:
    (Path(task.args[0]) / f"hook-of-{task.name}").touch()
    sys.exit(1)


def mark_by_hook(task: Task) -> None:
    (Path(task.args[0]) / f"hook-of-{task.name}").touch()

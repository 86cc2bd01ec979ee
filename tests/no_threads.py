"""A system that lets no thread be made for a while, as one without room for another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn
from unittest.mock import patch


def refuse(thread: threading.Thread) -> NoReturn:
    raise RuntimeError("can't start new thread")


@contextmanager
def no_new_threads() -> Iterator[None]:
    with patch.object(threading.Thread, "start", refuse):
        yield

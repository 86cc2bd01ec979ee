"""A task that keeps a worker for tasks busy, as one of a project would."""

import time

SECONDS = 3.0


def long_task() -> None:
    time.sleep(SECONDS)

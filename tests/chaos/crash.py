"""Named points at which a process kills itself or stops, once.

`CRASH_AT` and `STOP_AT` name one or several of them, separated by commas; `CRASH_MARKS` is a
directory where each leaves a file with the process id when it has been reached.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows import engine
from flows.api.start_groups import QuickStarts
from flows.store import Store
from flows.store.postgresql import PostgreSQL
from flows.store.sqlite import SQLite
from flows.worker.broker import QueueBroker
from flows.worker.session import Session

# What this process is in the middle of; a transaction that ends meanwhile is a crash point.
doing: list[str] = []


def crash(point: str) -> None:
    """Kill or stop this process if it is the first to come to the point."""
    for variable, number in (("CRASH_AT", signal.SIGKILL), ("STOP_AT", signal.SIGSTOP)):
        if point in os.environ.get(variable, "").split(",") and leaves_mark(point):
            os.kill(os.getpid(), number)


def leaves_mark(point: str) -> bool:
    try:
        with (Path(os.environ["CRASH_MARKS"]) / point).open("x") as mark:
            mark.write(str(os.getpid()))
    except FileExistsError:
        return False
    return True


def arm() -> None:
    if "CRASH_MARKS" not in os.environ:
        return
    for database in (PostgreSQL, SQLite):
        wrap(database, "transaction", around_transaction)
    wrap(SQLite, "alone", around_transaction)
    # On PostgreSQL a start travels with its COMMIT.
    wrap(PostgreSQL, "store_starts", around_stored_starts)
    wrap(PostgreSQL, "store_starts_as_seen", around_stored_starts)
    wrap(Store, "start", around_start)
    wrap(Store, "start_as_seen", around_start_as_seen)
    wrap(Store, "begin", around_begin)
    wrap(Store, "open", around_open)
    wrap(Store, "claim", around_claim)
    wrap(Store, "commit", around_commit)
    wrap(Store, "_release", around_release)
    wrap(Session, "_commit_and_claim", around_session_commit)
    wrap(QueueBroker, "_tasks_for_free_workers", around_hand_out)
    wrap(engine, "start", around_engine_start)
    wrap(QuickStarts, "_start", around_group)


def wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(owner, name, wrapped)


@contextmanager
def around_transaction(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[None]:
    with original(*args, **kwargs):
        yield
        for what in doing:
            crash(f"before-commit-of-{what}")


def around_stored_starts(original: Callable[..., Any], *args: Any) -> Any:
    for what in doing:
        crash(f"before-commit-of-{what}")
    return original(*args)


def around_start(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return during("start", original, *args, **kwargs)


def around_start_as_seen(original: Callable[..., Any], *args: Any) -> Any:
    is_stored = during("seen", original, *args)
    if is_stored:
        crash("seen-stored")
    return is_stored


def around_begin(original: Callable[..., Any], *args: Any) -> Any:
    lease = original(*args)
    crash("begun")
    return lease


def around_open(original: Callable[..., Any], *args: Any) -> Any:
    taken = during("opening", original, *args)
    if taken:
        crash("after-commit-of-opening")
    return taken


def around_claim(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    taken = during("claim", original, *args, **kwargs)
    crash("after-commit-of-claim")
    return taken


def around_commit(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    taken = during("results", original, *args, **kwargs)
    crash("after-commit-of-results")
    return taken


def around_release(original: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    original(*args, **kwargs)
    crash("before-commit-of-release")


def around_session_commit(original: Callable[..., Any], session: Session, claim: bool) -> Any:
    if session.done:
        crash("scripts-ended")
    return original(session, claim)


def around_hand_out(original: Callable[..., Any], broker: QueueBroker, *args: Any) -> Any:
    if broker._consumers().filter(pid=None).exists():
        crash("consumer-opened")
    tasks = original(broker, *args)
    if tasks:
        crash("consumer-sent")
    return tasks


def around_engine_start(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    started = original(*args, **kwargs)
    crash("started")
    return started


def around_group(original: Callable[..., Any], quick: QuickStarts, calls: Any) -> Any:
    crash("group-taken")
    outcomes = during("group", original, quick, calls)
    crash("group-stored")
    return outcomes


def during(what: str, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    doing.append(what)
    try:
        return original(*args, **kwargs)
    finally:
        doing.remove(what)

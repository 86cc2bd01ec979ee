"""Threads that hand over to each other at each step, in an order that a test decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial

from django.db import connection

# Longer than any step takes on a machine that is busy with other things.
DEADLINE_SECONDS = 120.0
# After so long without news it is asked whether the threads wait for locks.
LOOK_SECONDS = 0.01

Turn = Callable[[], None]


class Actor(threading.Thread):
    """A thread that waits for its turn before each step."""

    def __init__(self, play: Callable[[Turn], None], news: threading.Condition) -> None:
        super().__init__(daemon=True)
        self.play = play
        self.news = news
        self.state = "running"
        self.is_in_transaction = False
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.turn()
            self.play(self.turn)
        except Exception as error:
            self.error = error
        finally:
            connection.close()
            self.change("done")

    def turn(self) -> None:
        """Wait until it is this thread's turn."""
        self.is_in_transaction = not connection.get_autocommit()
        self.change("ready")
        with self.news:
            if not self.news.wait_for(lambda: self.state == "running", DEADLINE_SECONDS):
                raise TimeoutError("its turn never came")

    def change(self, state: str) -> None:
        with self.news:
            self.state = state
            self.news.notify_all()


def interleave(choices: Iterator[int], *plays: Callable[[Turn], None]) -> list[BaseException]:
    """Play in threads, one step at a time, and return what they have raised.

    Each choice picks the thread that goes on. One that waits for a lock is left to wait, until
    others have gone on. SQLite has one writer: there a transaction comes to its end first.
    """
    news = threading.Condition()
    actors = [Actor(play, news) for play in plays]
    for actor in actors:
        actor.start()
    while True:
        settle(actors, news)
        ready = [actor for actor in actors if actor.state == "ready"]
        if connection.vendor == "sqlite":
            ready = [actor for actor in ready if actor.is_in_transaction] or ready
        if ready:
            ready[next(choices, 0) % len(ready)].change("running")
        elif all(actor.state == "done" for actor in actors):
            return [actor.error for actor in actors if actor.error]


def settle(actors: list[Actor], news: threading.Condition) -> None:
    """Wait until each thread has come to its next step or its end, or waits for another's lock."""
    waited = 0.0
    while count := count_of_running(actors):
        with news:
            has_news = news.wait_for(partial(runs_fewer, actors, count), LOOK_SECONDS)
        others_are_ready = count < sum(actor.state != "done" for actor in actors)
        if not has_news and others_are_ready and waiting_for_locks() >= count:
            return
        waited += 0 if has_news else LOOK_SECONDS
        assert waited < DEADLINE_SECONDS, "the threads wait for each other"


def runs_fewer(actors: list[Actor], count: int) -> bool:
    return count_of_running(actors) < count


def count_of_running(actors: list[Actor]) -> int:
    return sum(actor.state == "running" for actor in actors)


def waiting_for_locks() -> int:
    """Count the connections that wait for a lock that another has."""
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        # A transaction goes on seeing what it saw first.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0]

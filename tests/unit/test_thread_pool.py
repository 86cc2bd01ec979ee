"""The threads of a worker are shared fairly by its scripts."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from scripts.pool.thread_pool import ThreadPool
from tests.waiting import wait_for

Job = tuple[str, int]


class Work:
    """Jobs that wait at a gate, by party, and those that were begun."""

    def __init__(self, most: int, most_of_one: int, share: int) -> None:
        self.begun: list[Job] = []
        self.gates: dict[str, threading.Event] = {}
        self.threads: ThreadPool[Job] = ThreadPool(self.do, most, most_of_one, share)

    def do(self, job: Job) -> None:
        self.begun.append(job)
        self.gates[job[0]].wait(60)

    def give(self, party: str, jobs: int) -> None:
        self.gates.setdefault(party, threading.Event())
        for number in range(jobs):
            self.threads.submit((party, number), party)

    def count(self, party: str) -> int:
        return sum(name == party for name, _ in self.begun)


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work(most=16, most_of_one=8, share=2)
    yield work
    for gate in work.gates.values():
        gate.set()
    work.threads.close()


def test_jobs_are_done_side_by_side_and_returned(work: Work) -> None:
    work.give("a", 5)
    wait_for(lambda: work.count("a") == 5)

    work.gates["a"].set()

    done: list[Job] = []

    def all_are_done() -> bool:
        done.extend(work.threads.done())
        return len(done) == 5

    wait_for(all_are_done)
    assert sorted(done) == [("a", number) for number in range(5)]


def test_a_party_has_no_more_threads_than_it_may(work: Work) -> None:
    work.give("slow", 40)
    wait_for(lambda: work.count("slow") == 8)

    work.give("quick", 1)

    wait_for(lambda: work.count("quick") == 1)
    assert work.count("slow") == 8


@pytest.mark.parametrize("slow", [2, 3, 5, 12, 40])
def test_parties_whose_jobs_take_long_leave_the_others_their_share(work: Work, slow: int) -> None:
    for number in range(slow):
        work.give(f"slow {number}", 40)
    wait_for(lambda: len(work.begun) >= 12)

    work.give("quick", 1)

    wait_for(lambda: work.count("quick") == 1)
    # No other had to end for it.
    assert list(work.threads.done()) == []
    assert max(work.count(f"slow {number}") for number in range(slow)) <= 8


def test_jobs_that_waited_are_done_when_there_is_room(work: Work) -> None:
    work.give("slow", 40)
    wait_for(lambda: work.count("slow") == 8)

    work.gates["slow"].set()

    wait_for(lambda: work.count("slow") == 40)
    assert sorted(work.begun) == [("slow", number) for number in range(40)]


def test_a_job_that_raises_leaves_the_threads_able_to_work(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: failed.set())
    work.threads.submit(("unknown", 1), "unknown")
    wait_for(failed.is_set)

    work.give("a", 20)
    work.gates["a"].set()

    wait_for(lambda: work.count("a") == 20)
    assert sorted(job for job in work.begun if job[0] == "a") == [("a", n) for n in range(20)]

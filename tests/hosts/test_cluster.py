import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from flows.tasks.queue import TaskQueue
from flows.worker import cluster
from flows.worker.cluster import StopEvent, Timer
from tests.waiting import PATIENCE, wait_for

LONG = 100 * PATIENCE


@pytest.fixture
def queue():
    queue = TaskQueue()
    yield queue
    queue.shut()


def test_tasks_come_out_of_the_task_queue_in_their_order(queue):
    for number in range(3):
        queue.put({"number": number})

    assert [queue.get()["number"] for _ in range(3)] == [0, 1, 2]
    assert queue.empty()


def test_a_task_larger_than_a_packet_arrives_whole(queue):
    task = {"text": "x" * 5_000_000}

    queue.put(task)

    assert queue.get() == task


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_reader_killed_while_it_waits_keeps_no_other_from_reading(queue):
    pid = os.fork()
    if pid == 0:
        queue.get()
        os._exit(0)
    wait_until_sleeping(pid)

    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    queue.put("task")

    assert queue.get() == "task"


def wait_until_sleeping(pid):
    stat = Path(f"/proc/{pid}/stat")
    wait_for(
        lambda: stat.read_text().rpartition(")")[2].split()[0] == "S", what="the reader's wait"
    )


def in_a_child(act):
    """Call it in a process that ends then, and return that ended process."""
    process = multiprocessing.get_context("fork").Process(target=act)
    process.start()
    process.join()
    return process


@pytest.fixture
def stop_event():
    event = StopEvent()
    yield event
    event.close()


def test_a_stop_that_is_set_in_a_child_is_seen_by_its_parent_again_and_again(stop_event):
    in_a_child(stop_event.set)

    assert [stop_event.wait(LONG), stop_event.wait(LONG), stop_event.is_set()] == [True] * 3


def test_waiting_for_a_stop_ends_with_its_time_or_the_end_of_a_process(stop_event):
    assert stop_event.wait(0.01) is False

    ended = in_a_child(int)
    stop_event.processes = lambda: [ended]

    assert stop_event.wait(LONG) is False


def test_a_process_that_ends_at_once_is_followed_by_a_pause(stop_event, monkeypatch):
    waits = []

    def wait(sources, seconds):
        waits.append((len(sources), seconds))
        return sources[-1:] if len(sources) > 1 else []

    ended = in_a_child(int)
    stop_event.processes = lambda: [ended]
    monkeypatch.setattr(cluster, "wait", wait)

    assert stop_event.wait(LONG) is False
    stop_event.set()
    assert stop_event.wait(LONG) is True

    assert waits == [(2, LONG), (1, cluster.PAUSE_SECONDS), (2, LONG)]


def test_a_timer_is_set_by_its_worker_alone_and_counts_down_by_itself():
    timer = Timer()

    def begin():
        timer.value = 1_000
        # As django-q2's worker does.
        timer.value += 3

    in_a_child(begin)
    # As its sentinel does in each cycle.
    timer.value -= 900
    first = timer.value

    assert first <= 1_003
    assert 0 < timer.value < first


@pytest.mark.parametrize(("told", "shown"), [(-1, -1), (-2, -2), (0, 0), (1e-9, 0)])
def test_a_timer_shows_what_is_no_time_and_when_the_time_is_over(told, shown):
    timer = Timer()

    in_a_child(lambda: setattr(timer, "value", told))

    assert timer.value == shown

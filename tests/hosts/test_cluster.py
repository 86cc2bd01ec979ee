import os
import signal
import threading
from pathlib import Path

import pytest

from flows.tasks.queue import TaskQueue
from flows.worker.cluster import Flag, Timer


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
    for _ in range(1000):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S":
            return
        threading.Event().wait(0.005)
    raise AssertionError("the reader never waited")


def test_a_flag_set_in_a_child_is_seen_by_its_parent():
    flag = Flag()
    pid = os.fork()
    if pid == 0:
        flag.set()
        os._exit(0)

    os.waitpid(pid, 0)

    assert flag.wait(0)


def test_waiting_for_a_flag_ends_with_its_time():
    assert Flag().wait(0.01) is False


def test_a_timer_is_shared_without_a_lock():
    timer = Timer()

    with timer.get_lock():
        timer.value = 7

    assert timer.value == 7

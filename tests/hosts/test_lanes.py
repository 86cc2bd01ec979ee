import os
import select

import pytest

from flows.tasks.ends import Results
from flows.tasks.lanes import STOP, Lanes
from flows.tasks.queue import TaskQueue
from flows.worker.worker import consume
from tests.waiting import wait_for

SESSION = {"ack_id": "consumer-1", "func": "flows.worker.worker.consume"}
OWN = {"ack_id": 1, "func": "flows.tasks.retention.purge"}


@pytest.fixture
def lanes():
    lanes = Lanes(flow_workers=2, task_workers=2)
    yield lanes
    lanes.shut()


def task(number):
    return {"ack_id": number, "func": "project.tasks.report"}


def worker_waits(lane):
    """Have a process wait for a task in the lane, as a worker does; return its pid."""
    pid = os.fork()
    if pid == 0:
        lane.get()
        os._exit(0)
    wait_for(lambda: lane.waits.value, what="a worker that waits")
    return pid


@pytest.fixture
def waiting(lanes):
    pids = [worker_waits(lane) for lane in (*lanes.engine, *lanes.tasks)]
    yield pids
    for lane in (*lanes.engine, *lanes.tasks):
        lane.put(STOP)
    for pid in pids:
        os.waitpid(pid, 0)


pytestmark = pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")


def test_a_session_goes_to_the_workers_for_flows_with_its_function(lanes):
    lanes.put(SESSION)

    assert lanes.flows.get() == SESSION | {"func": consume}
    assert lanes.empty()


def test_no_worker_is_free_before_it_waits(lanes):
    assert lanes.free_for_tasks() == lanes.free_for_engine() == 0


def test_each_task_takes_a_worker_that_waits(lanes, waiting):
    assert (lanes.free_for_engine(), lanes.free_for_tasks()) == (1, 2)

    lanes.put(task(1))
    assert (lanes.free_for_engine(), lanes.free_for_tasks()) == (1, 1)
    lanes.put(task(2))
    assert (lanes.free_for_engine(), lanes.free_for_tasks()) == (1, 0)
    lanes.put(OWN)
    assert (lanes.free_for_engine(), lanes.free_for_tasks()) == (0, 0)


class TakingLook:
    """A look at a lane in which its worker takes the task just before, or just after."""

    def __init__(self, lane, look, before):
        self.lane, self.look, self.before = lane, look, before
        self.has_taken = False

    def __call__(self):
        if self.before:
            self.take()
        found = self.look()
        self.take()
        return found

    # Of a look at `waits`.
    value = property(__call__)

    def take(self):
        if not self.has_taken:
            self.has_taken = True
            self.waits.value = 0
            TaskQueue.get(self.lane)

    @property
    def waits(self):
        return self.lane.shared_waits


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("looked_at", ["empty", "waits"])
def test_a_worker_is_not_free_whenever_it_takes_its_task(lanes, monkeypatch, looked_at, before):
    lane = lanes.tasks[0]
    lane.shared_waits, lane.shared_waits.value = lane.waits, 1
    lane.put(task(1))
    look = lane.empty if looked_at == "empty" else lambda: lane.shared_waits.value
    monkeypatch.setattr(lane, looked_at, TakingLook(lane, look, before))

    assert not lane.is_free()


def test_the_engines_own_task_takes_any_worker_that_waits(lanes, waiting):
    lanes.put(OWN)
    lanes.put(OWN)

    assert (lanes.free_for_engine(), lanes.free_for_tasks()) == (0, 1)


def test_a_worker_that_begins_to_wait_wakes_the_pusher(lanes):
    pid = worker_waits(lanes.tasks[0])

    readable, _, _ = select.select([lanes.waker], [], [], 10)

    assert readable
    lanes.waker.clear()
    assert select.select([lanes.waker], [], [], 0)[0] == []
    lanes.tasks[0].put(STOP)
    os.waitpid(pid, 0)


def test_a_waker_that_is_woken_for_ever_blocks_no_worker(lanes):
    for _ in range(10_000):
        lanes.waker.wake()

    lanes.waker.clear()

    assert select.select([lanes.waker], [], [], 0)[0] == []


def test_every_worker_gets_a_stop(lanes):
    for _ in range(lanes.workers()):
        lanes.put(STOP)

    assert [queue.get() for queue in (lanes.flows, lanes.flows, *lanes.engine, *lanes.tasks)] == [
        STOP
    ] * 5


def test_a_stop_comes_after_the_task_that_no_worker_has_read(lanes):
    lanes.tasks[0].put(task(1))

    for _ in range(lanes.workers()):
        lanes.put(STOP)

    assert [lanes.tasks[0].get(), lanes.tasks[0].get()] == [task(1), STOP]


def test_a_new_worker_takes_the_place_of_the_one_that_died(lanes):
    manned: list[TaskQueue] = []
    for _ in range(lanes.workers()):
        manned.append(lanes.without_worker(manned))
    assert manned == [lanes.flows, lanes.flows, *lanes.engine, *lanes.tasks]

    for lane in (lanes.flows, *lanes.engine, *lanes.tasks):
        left = list(manned)
        left.remove(lane)
        assert lanes.without_worker(left) is lane


def test_a_task_whose_worker_died_is_told_once(lanes):
    lane = lanes.tasks[0]
    lane.put(task(7))
    lane.get()

    lane.note_death(-9)

    assert lanes.lost() == [(7, -9)]
    assert lanes.lost() == []


def test_a_worker_that_died_without_a_task_has_lost_none(lanes):
    lanes.tasks[0].note_death(-9)

    assert lanes.lost() == []


def test_a_worker_whose_result_is_there_has_lost_nothing(lanes):
    lane = lanes.tasks[0]
    lane.put(task(7))
    done = lane.get() | {"result": 1, "success": True}

    Results(lanes.results, lane).put(done)
    lane.note_death(-9)

    assert lanes.lost() == []
    assert lanes.results.get() == done

"""What runs too long is ended: the call if possible, else the process."""

import subprocess
import sys
import threading
import time

import pytest

from scripts.callables.watchdog import EXIT_OVERDUE, Limit, TimeIsUp, Watchdog
from tests.no_threads import no_new_threads
from tests.waiting import PATIENCE, wait_for


@pytest.fixture
def dog():
    return Watchdog()


def spin():
    while True:
        pass


def test_a_call_in_time_gives_its_result_or_its_exception(dog):
    assert dog.call(Limit(5, "call"), divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        dog.call(Limit(5, "call"), divmod, 7, 0)


def test_a_call_that_takes_too_long_is_ended(dog):
    began = time.monotonic()

    with pytest.raises(TimeIsUp):
        dog.call(Limit(0.1, "call"), spin)

    assert time.monotonic() - began >= 0.1


def test_limits_hold_after_no_thread_could_be_made_to_watch_them(dog):
    with no_new_threads(), pytest.raises(RuntimeError):
        dog.call(Limit(0.1, "call"), int)

    with pytest.raises(TimeIsUp):
        dog.call(Limit(0.2, "call"), spin)


def test_limits_hold_after_others_have_run_out_unused(dog):
    for _ in range(3):
        dog.call(Limit(0.05, "call"), int)
        time.sleep(0.1)
        with pytest.raises(TimeIsUp):
            dog.call(Limit(0.1, "call"), spin)


def test_the_nearest_limit_counts_whichever_thread_it_is_in(dog):
    limits = [Limit(seconds, "call") for seconds in (1_000, 0.1, 2_000)]
    ended = []

    def call(limit):
        with pytest.raises(TimeIsUp):
            dog.call(limit, spin)
        ended.append(limit)

    threads = [threading.Thread(target=call, args=[limit]) for limit in limits]
    for thread in threads:
        thread.start()
    wait_for(lambda: ended, PATIENCE)
    assert ended == [limits[1]]

    for limit in (limits[2], limits[0]):
        dog.interrupt(limit)
    for thread in threads:
        thread.join(PATIENCE)
    assert set(ended) == set(limits)


@pytest.mark.parametrize("then", ["returns", "raises"])
def test_a_call_that_makes_something_of_its_end_has_ended_all_the_same(dog, then):
    def stubborn():
        try:
            spin()
        except BaseException:
            if then == "raises":
                raise ValueError from None

    with pytest.raises(TimeIsUp):
        dog.call(Limit(0.1, "call"), stubborn)


def test_a_call_can_be_interrupted_before_its_time_and_before_it_has_begun(dog):
    limit = Limit(60, "call")
    threading.Timer(0.1, dog.interrupt, [limit]).start()
    with pytest.raises(TimeIsUp):
        dog.call(limit, spin)

    limit = Limit(60, "call")
    dog.interrupt(limit)
    with pytest.raises(TimeIsUp):
        dog.call(limit, pytest.fail, "it has run")


def test_no_exception_comes_late(dog):
    """Calls that end just when their time is up: the exception comes within or not at all."""
    hits = 0
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        limit = Limit(0.002, "call")
        try:
            dog.call(limit, wait_until, time.monotonic() + 0.002)
        except TimeIsUp:
            hits += 1
        for _ in range(100):
            len([])

    assert hits
    assert not dog._armed


def wait_until(at):
    while time.monotonic() < at:
        pass


END = """
import time, re
from scripts.callables.watchdog import Limit, watchdog
def spin():
    while True: time.monotonic()
def stubborn():
    # A call is within the try as a whole. The jump of a loop in it is not, in Python 3.11.
    while True:
        try: spin()
        except BaseException: pass
print(time.monotonic(), flush=True)
watchdog.call(Limit(0.2, "the stubborn one"), {})
"""


@pytest.mark.parametrize(
    ("what", "code", "seconds"),
    [
        ("stubborn", EXIT_OVERDUE, 1.2),
        ("lambda: time.sleep(60)", EXIT_OVERDUE, 1.2),
        ("lambda: re.match('(a+)+$', 'a' * 64 + 'b')", 1, 3.2),
    ],
)
def test_a_process_ends_where_nothing_else_helps(what, code, seconds):
    process = subprocess.Popen(
        [sys.executable, "-c", END.format(what)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        # By its own clock: this process may hear of it late.
        began = float(process.stdout.readline())
        _, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == code, errors.decode()
    assert time.monotonic() - began > seconds - 0.1
    # Where it hung.
    assert b"most recent call first" in errors
    assert (b"the stubborn one" in errors) == (code == EXIT_OVERDUE)

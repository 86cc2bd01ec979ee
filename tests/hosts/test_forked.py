"""Children of `manage.py up` that are forks of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows.processes import parent_of
from flows.up.forked import ForkedChild
from tests.waiting import PATIENCE, wait_for

# Says what it is and has, and then waits for a signal.
PROGRAM = """
import json, os, signal, sys
signals = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
kept = [signals[0] is signal.default_int_handler, *(s == signal.SIG_DFL for s in signals[1:])]
facts = {"argv": sys.argv, "name": __name__, "own": os.environ["OWN"], "signals": kept}
facts |= {"session": os.getsid(0), "pid": os.getpid(), "wakeup": signal.set_wakeup_fd(-1)}
with open(sys.argv[1] + "~", "w") as file:
    json.dump(facts, file)
os.rename(sys.argv[1] + "~", sys.argv[1])
if sys.argv[2:]:
    sys.exit(int(sys.argv[2]))
signal.pause()
"""

Start = Callable[..., tuple[ForkedChild, dict[str, object]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Forks a child from this process, whose only thread pytest runs in; gives what it has told."""
    program, told = tmp_path / "program.py", tmp_path / "told"
    program.write_text(PROGRAM)
    children = []

    def start(*arguments: str) -> tuple[ForkedChild, dict[str, object]]:
        command = [sys.executable, str(program), str(told), *arguments]
        child = ForkedChild("child", command, {"OWN": "value"})
        children.append(child)
        child.start()
        wait_for(told.exists, what="what the child tells")
        return child, json.loads(told.read_text())

    yield start
    for child in children:
        child.stop()
        child.wait(PATIENCE)


def test_a_fork_runs_the_command_with_its_own_environment_session_and_signals(start: Start):
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        child, told = start()
    finally:
        signal.signal(signal.SIGTERM, before)

    assert told["argv"] == child.command[1:]
    assert told["name"] == "__main__"
    assert told["own"] == "value"
    assert "OWN" not in os.environ
    assert told["signals"] == [True, True, True]
    assert told["wakeup"] == -1
    assert told["session"] == told["pid"] == child.pid
    assert parent_of(child.pid) == os.getpid()


def test_a_fork_tells_its_exit_code_and_is_started_again(start: Start):
    child, _ = start("3")
    first = child.pid

    code = wait_for(child.restart_if_dead, what="the end of the child")

    assert code == 3
    assert child.pid != first


def test_a_fork_ends_with_a_stop_signal(start: Start):
    child, _ = start()

    child.stop()
    child.wait(PATIENCE)

    assert child.exit_code() == -signal.SIGTERM


def test_a_fork_that_does_not_end_in_time_is_killed(start: Start):
    child, _ = start()
    os.kill(child.pid, signal.SIGSTOP)

    child.wait(0.01)

    assert child.exit_code() == -signal.SIGKILL
    assert not psutil.pid_exists(child.pid)


@pytest.mark.parametrize("before", [0, 1])
def test_other_threads_are_seen(before: int):
    program = (
        "import _thread, sys, time; from flows.up.forked import has_other_threads\n"
        f"if {before}: _thread.start_new_thread(time.sleep, (60,))\n"
        "sys.exit(has_other_threads())"
    )

    assert subprocess.run([sys.executable, "-c", program]).returncode == before

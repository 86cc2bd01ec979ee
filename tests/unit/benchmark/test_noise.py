"""Whether the machine was quiet: pure arithmetic on what /proc says."""

import os

import pytest

from flows.benchmark import noise
from flows.benchmark.cpu_times import (
    Process,
    Reading,
    descendants,
    machine_ticks,
    process_of,
    read_machine,
    ticks_between,
)

STAT = "cpu  100 10 50 800 20 5 5 10 40 0\ncpu0 1 2 3\n"
OF_PROCESS = "42 (a (b) c) S 7 42 42 0 -1 0 0 0 0 0 11 5 3 1 20 0 1 0 0 0 0"


def reading(at: float, ticks: int, busy: int, stolen: int, **processes: Process) -> Reading:
    by_pid = {int(name.removeprefix("p")): process for name, process in processes.items()}
    return Reading(at, ticks, busy, stolen, by_pid)


def test_guests_are_not_counted_twice_and_waiting_is_not_busy():
    assert machine_ticks(STAT) == (1000, 160, 10)


def test_a_process_has_the_ticks_of_children_that_it_has_waited_for():
    assert process_of(OF_PROCESS) == Process(parent=7, name="a (b) c", ticks=20)


def test_descendants_are_found_through_all_generations():
    processes = {
        1: Process(0, "init", 0),
        2: Process(1, "bench", 0),
        3: Process(2, "cluster", 0),
        4: Process(3, "worker", 0),
        5: Process(1, "other", 0),
    }

    assert descendants(processes, [2]) == {2, 3, 4}


def test_a_process_that_is_new_has_computed_all_since():
    before = reading(0, 0, 0, 0, p2=Process(1, "bench", 10))
    after = reading(1, 0, 0, 0, p2=Process(1, "bench", 15), p3=Process(2, "cluster", 7))

    assert ticks_between(before, after, [2, 3]) == 12


def test_a_file_system_without_proc_gives_no_reading(tmp_path):
    assert read_machine(tmp_path) is None
    assert noise.steal_percent(None, None) is None
    assert noise.others_percent(None, None) is None


def test_steal_is_a_share_of_all_time():
    assert noise.steal_percent(reading(0, 0, 0, 0), reading(1, 400, 0, 8)) == 2.0


def test_what_is_not_ours_is_computed_by_others(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    me = f"p{os.getpid()}"
    before = reading(0, 0, 0, 0, **{me: Process(1, "bench", 0)})
    after = reading(1, 200, 130, 0, **{me: Process(1, "bench", 100), "p9": Process(1, "x", 30)})

    assert noise.others_percent(before, after) == 30.0


def test_a_database_server_is_a_part_of_the_measurement(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    before = reading(0, 0, 0, 0)
    after = reading(1, 200, 50, 0, p9=Process(1, "postgres", 50))

    assert noise.others_percent(before, after) == 0.0


def test_the_spread_is_that_of_nine_in_ten_loops():
    assert noise.spread_percent([2.0] * 9 + [100.0]) == 0.0
    assert noise.spread_percent([1.0, 1.0, 1.5, 1.5]) == 50.0


def test_each_sign_beyond_its_limit_has_a_sentence():
    quiet = dict.fromkeys(noise.MOST_PERCENT, 0.0)

    assert noise.warnings_of(quiet) == []
    assert noise.warnings_of(quiet | {"stealPercent": None}) == []
    assert noise.warnings_of(quiet | {"stealPercent": 2.5}) == [
        "the host of this machine took 2.5 % of its time"
    ]
    assert len(noise.warnings_of(dict.fromkeys(noise.MOST_PERCENT, 1000.0))) == 4

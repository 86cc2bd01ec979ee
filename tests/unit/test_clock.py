"""The clock that everything waits by does not follow the machine's when that jumps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.store.clock import TOLERANCE_SECONDS, TRIAL_SECONDS, SteadyClock

START = 1_800_000_000.0
DAY = 86_400.0
MONTH = 30 * DAY


@dataclass
class Machine:
    """A machine whose clock can be set. Time goes by for all of it."""

    elapsed: float = 1_000.0
    offset: float = START - 1_000.0
    boot: str = "first"

    def clock(self, path: Path | None = None) -> SteadyClock:
        return SteadyClock(path, lambda: self.elapsed + self.offset, lambda: self.elapsed, self.id)

    def id(self) -> str:
        return self.boot

    def passes(self, seconds: float, clock: SteadyClock) -> None:
        """Let time go by, with a broker that looks at the clock every second."""
        for _ in range(int(seconds)):
            self.elapsed += 1
            clock.epoch()

    @property
    def wall(self) -> float:
        return self.elapsed + self.offset


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture(params=["file", "process"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "clock" if request.param == "file" else None


def test_it_is_the_machines_clock_where_that_does_not_jump(machine: Machine, path: Path | None):
    clock = machine.clock(path)

    for _ in range(100):
        machine.elapsed += 7.5
        assert clock.epoch() == machine.wall


@pytest.mark.parametrize("jump", [MONTH, -MONTH, 60.0, -60.0, 366 * DAY])
def test_a_jump_that_is_taken_back_is_not_followed(
    machine: Machine, path: Path | None, jump: float
):
    clock = machine.clock(path)
    before = clock.epoch()

    machine.offset += jump
    machine.passes(18, clock)
    during, jumped = clock.epoch(), clock.has_jumped
    machine.offset -= jump
    machine.passes(1, clock)

    assert during == pytest.approx(before + 18)
    assert jumped
    assert clock.epoch() == machine.wall
    assert not clock.has_jumped


@pytest.mark.parametrize("jump", [MONTH, -MONTH])
def test_a_clock_that_stays_as_it_was_set_is_followed(machine: Machine, path: Path | None, jump):
    clock = machine.clock(path)
    before = clock.epoch()
    machine.offset += jump

    machine.passes(TRIAL_SECONDS - 1, clock)
    held, settled_early = clock.epoch(), clock.settle()
    machine.passes(2, clock)
    settled = clock.settle()

    assert held == pytest.approx(before + TRIAL_SECONDS - 1)
    assert settled_early is None
    assert clock.epoch() == machine.wall
    if path:
        assert settled is not None
        before, after = settled
        assert after - before == pytest.approx(jump)
    assert clock.settle() is None


def test_a_small_jump_is_on_trial_for_as_long_as_it_is(machine: Machine, tmp_path: Path):
    clock = machine.clock(tmp_path / "clock")
    clock.epoch()
    machine.offset += 20

    machine.passes(18, clock)
    assert clock.settle() is None
    machine.passes(4, clock)
    assert clock.settle() is not None


@given(st.lists(st.floats(-TOLERANCE_SECONDS / 2, TOLERANCE_SECONDS / 2), max_size=50))
def test_a_clock_that_is_put_right_bit_by_bit_is_followed_at_once(slews: list[float]):
    machine = Machine()
    clock = machine.clock()
    clock.epoch()

    for slew in slews:
        machine.elapsed += 10
        machine.offset += slew
        assert clock.epoch() == machine.wall


@given(st.lists(st.floats(-10 * MONTH, 10 * MONTH), min_size=1, max_size=10))
def test_whatever_the_clock_is_set_to_for_a_moment_time_goes_on(jumps: list[float]):
    machine = Machine()
    clock = machine.clock()
    right, last = machine.offset, clock.epoch()

    for jump in jumps:
        machine.elapsed += 1
        machine.offset = right + jump
        epoch = clock.epoch()
        assert abs(epoch - last - 1) <= 2 * TOLERANCE_SECONDS
        last = epoch


def test_processes_agree_also_one_that_starts_while_the_clock_is_wrong(
    machine: Machine, tmp_path: Path
):
    first = machine.clock(tmp_path / "clock")
    before = first.epoch()
    machine.offset += MONTH
    machine.elapsed += 5

    second = machine.clock(tmp_path / "clock")

    assert second.epoch() == first.epoch() == before + 5


def test_one_process_settles_for_all(machine: Machine, tmp_path: Path):
    first, second = machine.clock(tmp_path / "clock"), machine.clock(tmp_path / "clock")
    first.epoch(), second.epoch()
    machine.offset += MONTH
    machine.passes(TRIAL_SECONDS + 1, first)

    assert first.settle() is not None
    assert second.settle() is None
    assert second.epoch() == first.epoch() == machine.wall


def test_two_jumps_far_apart_are_two(machine: Machine, tmp_path: Path):
    clock = machine.clock(tmp_path / "clock")
    clock.epoch()
    machine.offset += MONTH
    clock.epoch()
    machine.offset -= MONTH
    machine.elapsed += DAY
    machine.offset += MONTH

    assert clock.settle() is None
    assert clock.has_jumped


def test_the_time_counts_anew_after_a_start_of_the_machine(machine: Machine, tmp_path: Path):
    machine.clock(tmp_path / "clock").epoch()

    machine.boot, machine.elapsed, machine.offset = "second", 5.0, START + DAY
    clock = machine.clock(tmp_path / "clock")

    assert clock.epoch() == machine.wall
    assert not clock.has_jumped


def test_a_machine_that_starts_in_the_past_follows_as_soon_as_it_is_told_the_time(
    machine: Machine, tmp_path: Path
):
    machine.clock(tmp_path / "clock").settle()
    machine.boot, machine.elapsed, machine.offset = "second", 5.0, 0.0
    clock = machine.clock(tmp_path / "clock")
    assert clock.epoch() == 5.0

    machine.offset = START + DAY

    assert clock.settle() is not None
    assert clock.epoch() == machine.wall


@pytest.mark.parametrize("content", ["", "nonsense", "[1]", '{"another": 1}', '{"boot": 1'])
def test_a_file_that_cannot_be_read_is_written_anew(machine: Machine, tmp_path: Path, content: str):
    (tmp_path / "clock").write_text(content)

    clock = machine.clock(tmp_path / "clock")

    assert clock.epoch() == machine.wall
    assert machine.clock(tmp_path / "clock").epoch() == machine.wall

"""The machine's time without its jumps.

A clock may be set by hand, stand still while a virtual machine sleeps, or follow a wrong time
server. Messages that wait for a time would wait for weeks then, or go too early.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from django.db import connection

logger = logging.getLogger(__name__)

# Corrections of up to this size are usual, and are followed at once.
TOLERANCE_SECONDS = 5.0
# A clock that was set is believed once it has stayed so for as long as it jumped, and no longer
# than this.
TRIAL_SECONDS = 600.0
# A jump that was not seen for this long is over; the next to the same time is another.
GAP_SECONDS = 300.0
# Smaller changes are not written to the file; a time that has been is noted this seldom.
NOTE_SECONDS = 1.0
KNOWN_SECONDS = 60.0


@dataclass
class State:
    """What the processes of a machine agree on, in seconds since the epoch and since its start.

    `offset` is the time at which the machine started, by the clock that is believed, and
    `jumped_to` by the one that is on trial; `known` is a time that has been.
    """

    boot: str = ""
    offset: float = 0.0
    jumped_to: float | None = None
    since: float = 0.0
    seen_at: float = 0.0
    known: float = 0.0


class SteadyClock:
    """Follows the machine's clock, but goes on as it was while that has jumped.

    The state is in a file, for all processes of the machine; without one it is this process's own.
    """

    def __init__(
        self,
        path: Path | None = None,
        wall: Callable[[], float] = time.time,
        elapsed: Callable[[], float] | None = None,
        boot: Callable[[], str] | None = None,
    ) -> None:
        self._path = path
        self._wall = wall
        self._elapsed = elapsed or since_start
        self._boot = boot or boot_id
        self._own = State()
        self._lock = threading.Lock()
        self._offset: float | None = None

    def epoch(self) -> float:
        """Return the time in seconds since the epoch."""
        wall, elapsed = self._wall(), self._elapsed()
        if self._offset is not None and abs(wall - elapsed - self._offset) <= TOLERANCE_SECONDS / 2:
            return wall
        with self._state() as state:
            offset = self._look(state, wall, elapsed)
        return wall if abs(wall - elapsed - offset) <= TOLERANCE_SECONDS else elapsed + offset

    @property
    def has_jumped(self) -> bool:
        """Whether the machine's clock shows another time now."""
        return abs(self._wall() - self.epoch()) > TOLERANCE_SECONDS

    def settle(self) -> tuple[float, float] | None:
        """Believe the machine's clock where it has stayed as it is for long enough.

        Return the time as it was and as it is from then on; None where nothing changes.
        """
        with self._state() as state:
            elapsed = self._elapsed()
            offset = self._look(state, self._wall(), elapsed)
            if state.jumped_to is None:
                if elapsed + offset > state.known + KNOWN_SECONDS:
                    state.known = elapsed + offset
            elif self._is_believed(state, elapsed):
                return self._believe(state, elapsed)
        return None

    def _believe(self, state: State, elapsed: float) -> tuple[float, float]:
        assert state.jumped_to is not None
        before, after = elapsed + state.offset, elapsed + state.jumped_to
        logger.warning("the clock is followed: it is %.0f s from what it was", after - before)
        self._offset = state.offset = state.jumped_to
        state.jumped_to, state.known = None, after
        return before, after

    def _is_believed(self, state: State, elapsed: float) -> bool:
        assert state.jumped_to is not None
        jump = abs(state.jumped_to - state.offset)
        # A machine without a battery starts in the past, and is then told the time.
        is_told = elapsed + state.offset < state.known <= elapsed + state.jumped_to
        return is_told or elapsed - state.since >= min(jump, TRIAL_SECONDS)

    def _look(self, state: State, wall: float, elapsed: float) -> float:
        """Note where the clock is and return the offset that counts."""
        offset = wall - elapsed
        if state.boot != self._boot():
            known = state.known
            state.__init__(self._boot(), offset, known=known)  # type: ignore[misc]
        elif abs(offset - state.offset) <= TOLERANCE_SECONDS:
            state.offset, state.jumped_to = offset, None
        else:
            self._note_jump(state, offset, elapsed)
            if self._path is None and self._is_believed(state, elapsed):
                # There is nothing stored by it that is to be mended.
                self._believe(state, elapsed)
        self._offset = state.offset
        return state.offset

    def _note_jump(self, state: State, offset: float, elapsed: float) -> None:
        is_another = state.jumped_to is None or abs(offset - state.jumped_to) > TOLERANCE_SECONDS
        if is_another or elapsed - state.seen_at > GAP_SECONDS:
            jump = offset - state.offset
            logger.warning("the clock has jumped by %.0f s; it is not followed at once", jump)
            state.jumped_to, state.since = offset, elapsed
        state.seen_at = elapsed

    @contextmanager
    def _state(self) -> Iterator[State]:
        """Read the state, and write it where it has changed; the lock is held meanwhile."""
        if self._path is None:
            with self._lock:
                yield self._own
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            state = State()
            with suppress(ValueError, TypeError):
                state = State(**json.loads(os.pread(descriptor, 4096, 0)))
            before = asdict(state)
            yield state
            if is_news(before, asdict(state)):
                text = json.dumps(asdict(state)).encode()
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, text, 0)
        finally:
            os.close(descriptor)


def machine_clock() -> SteadyClock:
    """Return the clock of this machine, which processes with one SQLite file agree on."""
    name = str(connection.settings_dict["NAME"])
    is_file = connection.vendor == "sqlite" and not in_memory(name)
    return _clock_of(f"{name}-clock" if is_file else "")


@cache
def _clock_of(path: str) -> SteadyClock:
    return SteadyClock(Path(path) if path else None)


def in_memory(name: str) -> bool:
    """Tell whether a SQLite database has no file that processes share."""
    return name.startswith("file:") or name == ":memory:"


def is_news(before: dict[str, object], after: dict[str, object]) -> bool:
    """Whether the others have to know: a jump that is seen again and again is seldom told."""
    return any(
        abs(after[name] - was) > NOTE_SECONDS  # type: ignore[operator]
        if isinstance(was, float) and isinstance(after[name], float)
        else after[name] != was
        for name, was in before.items()
    )


def since_start() -> float:
    """Return the seconds since the machine started, those that it slept included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def boot_id() -> str:
    """Return what is another after each start of the machine."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return "unknown"

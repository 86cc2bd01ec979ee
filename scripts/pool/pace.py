"""How long the calls of a program take, and how many the pool sends ahead for that."""

from scripts.protocol.calls import Program

# Seconds of work on their way to a host: enough that the pipe costs little with fast scripts.
GROUP_SECONDS = 0.02
# The limit for very fast scripts: two of the largest groups, so that no host waits for the next.
_MAX_CALLS_AHEAD = 1000
_SMOOTHING = 0.3
_MAX_KNOWN_PROGRAMS = 256


class Pace:
    """The smoothed seconds a call of each program takes."""

    def __init__(self) -> None:
        self._seconds: dict[Program, float] = {}

    def of(self, program: Program) -> float | None:
        """Return the seconds a call takes, None before the first one has ended."""
        return self._seconds.get(program)

    def learn(self, program: Program, seconds: float, calls: int) -> None:
        """Take in the average seconds of a number of calls."""
        known = self._seconds.get(program)
        if known is None and len(self._seconds) >= _MAX_KNOWN_PROGRAMS:
            del self._seconds[next(iter(self._seconds))]
        weight = 1.0 if known is None else 1 - (1 - _SMOOTHING) ** calls
        self._seconds[program] = weight * seconds + (1 - weight) * (known or 0.0)


def calls_ahead(seconds_per_call: float | None) -> int:
    """Return how many calls may be on their way to a host; one while nothing is known."""
    if seconds_per_call is None:
        return 1
    return max(1, min(_MAX_CALLS_AHEAD, int(GROUP_SECONDS / max(seconds_per_call, 1e-6))))

"""Sources of outcomes beside the script hosts, for programs that run without one."""

from collections.abc import Container, Iterator
from typing import Any, Protocol

from scripts.pool.running import RunningCall
from scripts.protocol.calls import Call, CallSite, Outcome, Program


class OutcomeSource(Protocol):
    """Runs the calls of some programs. It is readable, for `select`, when some have ended.

    It works for the pool's thread, and never makes that wait.
    """

    @staticmethod
    def runs(program: Program) -> bool:
        """Whether calls of the program are for this source."""

    def fileno(self) -> int:
        """The descriptor to wait for."""

    def submit(self, program: Program, site: CallSite, calls: list[Call], limit: int) -> None:
        """Run calls, at most `limit` of the step at once."""

    def finished(self) -> list[tuple[Program, Outcome]]:
        """Return the outcomes since the last time."""

    def running(self, keys: Container[Any], seconds: float) -> Iterator[RunningCall]:
        """Yield those calls of these keys that have been running for so long, with their logs."""

    def withdraw(self, keys: set[Any]) -> list[Call]:
        """Withdraw and return the calls with these keys that were not begun.

        Unknown keys are ignored, here and below.
        """

    def cancel(self, keys: set[Any]) -> None:
        """End the calls with these keys that run."""

    def close(self) -> None:
        """End what runs. Nothing comes of it any more."""

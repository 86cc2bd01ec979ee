"""What a run with branches must become, without a database: the pure rules of the README.

A run is in one stretch of its flow at a time: up to the next step with a join, or to the end. What
matters is what is decided, not in which order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

OPEN, REQUEUED, DISCARDED = "open", "requeued", "discarded"


@dataclass
class Letter:
    branch: str
    position: int
    payload: Any
    state: str = OPEN


@dataclass
class ModelRun:
    """`joins` says of each step whether it has a join; the last step's output is the result."""

    joins: list[bool]
    # The messages that have not arrived: by branch the step where each is, and its payload.
    live: dict[str, tuple[int, Any]] = field(default_factory=dict)
    arrived: dict[str, Any] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    result: Any = None
    is_completed: bool = False
    is_cancelled: bool = False
    is_branched: bool = False
    joined: list[tuple[int, Any]] = field(default_factory=list)

    # --- what happens ----------------------------------------------------------------------

    def passed(self, branch: str, payload: Any) -> None:
        position, _ = self.live.pop(branch)
        self._send(branch, position + 1, payload)
        self._settle(position)

    def fanned_out(self, branch: str, payloads: list[Any]) -> None:
        position, _ = self.live.pop(branch)
        if not self.is_branched:
            # Dead letters from before the fan-out do not matter to the branches.
            self.is_branched, self.letters = True, []
        for number, payload in enumerate(payloads):
            self._send(f"{branch}.{number:06}".lstrip("."), position + 1, payload)
        self._settle(position)

    def rejected(self, branch: str) -> None:
        self.letters.append(Letter(branch, *self.live.pop(branch)))

    def requeued(self, letter: Letter) -> None:
        letter.state = REQUEUED
        self.live[letter.branch] = (letter.position, letter.payload)

    def discarded(self, letter: Letter) -> None:
        letter.state = DISCARDED
        self._settle(letter.position)

    def cancelled(self) -> None:
        """It ends what moves; a run that has nothing moving is as it was."""
        if not self.live:
            return
        self.live.clear()
        self.arrived.clear()
        for letter in self.open_letters:
            letter.state = DISCARDED
        self.is_cancelled = True

    # --- what it is then -------------------------------------------------------------------

    @property
    def open_letters(self) -> list[Letter]:
        return [letter for letter in self.letters if letter.state == OPEN]

    @property
    def status(self) -> str:
        if self.is_cancelled:
            return "CANCELLED"
        if self.is_completed:
            return "COMPLETED"
        return "FAILED" if self.letters and (self.open_letters or self._is_given_up) else "RUNNING"

    @property
    def has_ended(self) -> bool:
        return not self.live and not self.open_letters

    @property
    def _is_given_up(self) -> bool:
        """Whether the last word on each branch that died was to discard it."""
        last_words = {letter.branch: letter.state for letter in self.letters}
        return REQUEUED not in last_words.values()

    def _send(self, branch: str, position: int, payload: Any) -> None:
        if position == len(self.joins) and not self.is_branched:
            self.result, self.is_completed = payload, True
        elif self.is_branched and (position == len(self.joins) or self.joins[position]):
            self.arrived[branch] = payload
        else:
            self.live[branch] = (position, payload)

    def _settle(self, position: int) -> None:
        """Go on where no branch can arrive any more."""
        if self.live or self.open_letters or not self.is_branched:
            return
        if self.letters and self._is_given_up:
            self.arrived.clear()
            return
        outputs = [payload for _, payload in sorted(self.arrived.items())]
        at = next((p for p in range(position + 1, len(self.joins)) if self.joins[p]), None)
        self.arrived.clear()
        self.letters, self.is_branched = [], False
        if at is None:
            self.result, self.is_completed = outputs, True
            return
        self.joined.append((at, outputs))
        self.live[""] = (at, outputs)

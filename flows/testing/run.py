from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows import public
from flows.engine import Payload
from flows.models import DeadLetter, Message, Run, StepRun
from flows.monitoring import trace
from flows.testing.arguments import check_choice, check_flag, check_text, check_type
from flows.testing.story import story
from flows.testing.transactions import hooks_so_far, run_hooks

if TYPE_CHECKING:
    from flows.testing.kit import FlowKit

ANY = object()


@dataclass(frozen=True, slots=True)
class Letter:
    """An open dead letter of a run: neither reprocessed nor discarded."""

    id: int
    step: str
    reason: str
    error: str
    deliveries: int
    payload: Any
    branch: str


class FlowRun:
    """A run in a test. Each property reads the database anew."""

    def __init__(self, kit: FlowKit, id: UUID) -> None:
        self.id = id
        self._kit = kit

    def __repr__(self) -> str:
        return f"<FlowRun {self.id}: {self.status}>"

    # --- its state ---------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """QUEUED, RUNNING, COMPLETED, FAILED or CANCELLED."""
        return str(self._run.status)

    @property
    def result(self) -> Any:
        """The output of the last step; None if the run has not completed."""
        return json.loads(self._run.result or "null")

    @property
    def payload(self) -> Any:
        """The payload of the result, if the last step returns a message. Raises KeyError."""
        return self.result["payload"]

    @property
    def error(self) -> str:
        return self._run.error

    @property
    def trace(self) -> dict[str, Any]:
        """The run with its steps and their attempts, as in the API, without the result."""
        return trace.trace(self._run)

    def step(self, name: str) -> dict[str, Any]:
        """The step's part of the trace: status, deliveries, error, attempts. Raises KeyError."""
        steps = {step["name"]: step for step in self.trace["steps"]}
        if name not in steps:
            raise KeyError(f"The flow has no step {name!r}; it has {', '.join(steps)}.")
        found: dict[str, Any] = steps[name]
        return found

    @property
    def path(self) -> list[str]:
        """The steps of all attempts, in the order in which they ended."""
        attempts = StepRun.objects.filter(run=self.id).order_by("id")
        return list(attempts.values_list("step__name", flat=True))

    def attempts(self, step: str) -> list[str]:
        """How the step's attempts ended: COMPLETED, FAILED, RETRY, REJECTED, WAITING, CANCELLED."""
        return [str(attempt["outcome"]) for attempt in self.step(step)["attempts"]]

    def logs(self, step: str | None = None) -> list[str]:
        """The log lines of the step, or of all steps, in order."""
        steps = self.trace["steps"] if step is None else [self.step(step)]
        attempts = [attempt for each in steps for attempt in each["attempts"]]
        return [str(line["text"]) for attempt in attempts for line in attempt["logs"]]

    @property
    def dead_letters(self) -> list[Letter]:
        letters = DeadLetter.objects.open().filter(run=self.id).order_by("id")
        return [
            Letter(
                id=letter.pk,
                step=letter.step.name,
                reason=str(letter.reason),
                error=letter.error,
                deliveries=letter.deliveries,
                payload=_payload_of(letter.body),
                branch=letter.branch,
            )
            for letter in letters.select_related("step")
        ]

    @property
    def story(self) -> str:
        """The run as text. Failed assertions contain it."""
        return story(self.trace, self.result, self._kit.outside.calls)

    # --- actions -----------------------------------------------------------------------------

    def finish(self) -> FlowRun:
        """Work until the run has ended. Where the run waits, time moves on.

        Raises AssertionError where it does not end: its flow is paused, the next queue is full.
        """
        __tracebackhide__ = True
        self._kit.work_while(self._has_messages)
        if self._has_messages():
            raise AssertionError(f"The run does not come to its end.\n{self.story}")
        return self

    def cancel(self) -> FlowRun:
        since = hooks_so_far()
        public.cancel(self.id)
        run_hooks(since)
        return self

    def reprocess(
        self,
        payload: Payload | None = None,
        *,
        letter: Letter | None = None,
        newest_script: bool = False,
    ) -> FlowRun:
        """Reprocess a dead letter, with another payload if one is given. Call `finish` afterwards.

        A run that has several open ones needs to be told which.
        """
        if isinstance(payload, Letter):
            raise TypeError("Give the dead letter as `letter=`; the first argument is a payload.")
        check_flag("newest_script", newest_script)
        id = self._one_letter(letter).id
        public.reprocess(id, payload=payload, newest_script=newest_script)
        return self

    def discard(self, letter: Letter | None = None) -> FlowRun:
        id = self._one_letter(letter).id
        since = hooks_so_far()
        public.discard(id)
        run_hooks(since)
        return self

    # --- assertions --------------------------------------------------------------------------

    def assert_completed(self, result: Any = ANY) -> None:
        """Assert that it has completed, with the result if one is given."""
        __tracebackhide__ = True
        self._require(self.status == "COMPLETED", f"The run is {self.status}, not COMPLETED.")
        if result is not ANY:
            self._require(self.result == result, f"The result is not {result!r}.")

    def assert_failed(self, error: str = "") -> None:
        """Assert that it has failed and that its error contains the text."""
        __tracebackhide__ = True
        check_text("error", error)
        self._require(self.status == "FAILED", f"The run is {self.status}, not FAILED.")
        self._require(error in self.error, f"{error!r} is not in the error of the run.")

    def assert_cancelled(self) -> None:
        __tracebackhide__ = True
        self._require(self.status == "CANCELLED", f"The run is {self.status}, not CANCELLED.")

    def assert_path(self, *steps: str) -> None:
        """Assert the steps of all attempts, in order."""
        __tracebackhide__ = True
        for step in steps:
            check_text("A step", step)
        path = self.path
        self._require(path == list(steps), f"The path is {path}, not {list(steps)}.")

    def assert_attempts(self, step: str, *outcomes: str) -> None:
        """Assert how the step's attempts have ended, as in ("charge", "FAILED", "COMPLETED")."""
        __tracebackhide__ = True
        for outcome in outcomes:
            check_choice("An outcome", outcome, StepRun.Outcome.values)
        ended = self.attempts(step)
        expected = list(outcomes)
        self._require(ended == expected, f"The attempts of {step!r} are {ended}, not {expected}.")

    def assert_logged(self, text: str, step: str | None = None) -> None:
        """Assert that a log line contains the text."""
        __tracebackhide__ = True
        check_text("text", text)
        self._require(any(text in line for line in self.logs(step)), f"{text!r} was not logged.")

    def assert_dead_letter(
        self, step: str | None = None, *, reason: str | None = None, error: str = ""
    ) -> Letter:
        """Assert that it has one open dead letter, with this step and reason, and return it."""
        __tracebackhide__ = True
        check_text("error", error)
        if step is not None:
            self.step(step)
        if reason is not None:
            check_choice("reason", reason, DeadLetter.Reason.values)
        letters = self.dead_letters
        self._require(len(letters) == 1, f"The run has {len(letters)} dead letters, not one.")
        letter = letters[0]
        at, why = letter.step, letter.reason
        self._require(step in (None, at), f"The dead letter is at {at!r}, not at {step!r}.")
        self._require(reason in (None, why), f"The reason is {why!r}, not {reason!r}.")
        self._require(error in letter.error, f"{error!r} is not in the error of the dead letter.")
        return letter

    def _require(self, holds: bool, message: str) -> None:
        __tracebackhide__ = True
        if not holds:
            raise AssertionError(f"{message}\n{self.story}")

    @property
    def _run(self) -> Run:
        return Run.objects.select_related("flow_version").get(pk=self.id)

    def _has_messages(self) -> bool:
        return Message.objects.filter(run=self.id).exists()

    def _one_letter(self, letter: Letter | None) -> Letter:
        """Return the given dead letter or the only one. Raises ValueError if another run has it."""
        letters = self.dead_letters
        if letter is not None:
            check_type("letter", letter, Letter, "one of the run's dead letters")
            if not DeadLetter.objects.filter(pk=letter.id, run=self.id).exists():
                raise ValueError(
                    f"The dead letter {letter.id} is not one of this run.\n{self.story}"
                )
            return letter
        if len(letters) != 1:
            raise AssertionError(f"The run has {len(letters)} dead letters, not one.\n{self.story}")
        return letters[0]


def _payload_of(body: str) -> Any:
    message = json.loads(body)
    return message.get("payload") if isinstance(message, dict) else message

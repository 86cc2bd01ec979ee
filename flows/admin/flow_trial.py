"""A trial of a whole flow: its steps run one after the other on a sample, and nothing is stored.

Each step is a trial of its script, as on the script's page: in a script host of its own, with the
script's limits, recorded if it may read secrets or call other hosts. What is handed from step to
step is what the engine would hand on, but for the values of secrets, which are masked. Lists fan
out and joins gather as in a run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from flows.message.envelope import parse_payload, wrap
from flows.models import Flow, Step
from flows.store.run_end import joined
from flows.store.sizes import fault_of_text
from scripts.models import Language
from scripts.protocol.errors import ScriptRejected, ScriptRetry, ScriptWait
from scripts.protocol.json_text import items_of
from scripts.trials.records import recorded
from scripts.trials.states import TriedState
from scripts.trials.trial import TooManyTrials, Trial, run_trial

# A person waits for the result. No script begins after this time; one may take 10 s.
MAX_SECONDS = 30.0
# Of all steps together: each starts a process.
MOST_TRIALS = 40

CALLABLE = (
    "Not run: a callable runs in the workers' own processes, not in this one. The trial ends here."
)


@dataclass(slots=True)
class Tried:
    """One message at one step. `note` says why the trial goes no further here."""

    step: Step
    branch: str
    body: str
    is_last: bool
    trial: Trial | None = None
    note: str = ""

    @property
    def state(self) -> str:
        """One of passed, rejected, retry, waiting, failed, skipped."""
        if self.trial is None:
            return "skipped"
        error = self.trial.error
        if isinstance(error, ScriptRetry):
            return "retry"
        if isinstance(error, ScriptWait):
            return "waiting"
        if isinstance(error, ScriptRejected):
            return "rejected"
        return "passed" if error is None else "failed"

    @property
    def finishes(self) -> bool:
        """Whether the run, or its branch, ends with the output."""
        return self.is_last or (self.trial is not None and self.trial.finishes)

    @property
    def output(self) -> str | None:
        return self.trial.output if self.trial and self.trial.error is None else None


@dataclass(slots=True)
class FlowTrial:
    """The messages that were tried, in order. `result` is None where the flow did not end."""

    tried: list[Tried] = field(default_factory=list)
    result: str | None = None
    stop: str = ""
    seconds: float = 0.0

    @property
    def state(self) -> dict[str, str]:
        """The state that the scripts have left, which began empty: JSON texts by key."""
        return next((each.trial.state for each in reversed(self.tried) if each.trial), {})


def try_flow(flow: Flow, payload: str, user: Any) -> FlowTrial:
    """Try the flow on a payload. The caller has checked what the user may try.

    Raises PayloadInvalid if the payload could not be started.
    """
    parse_payload(payload.encode())
    steps = list(flow.steps.select_related("script", "queue").order_by("position", "pk"))
    began = time.monotonic()
    trial = _Run(flow, steps, user, began + MAX_SECONDS).run(payload)
    trial.seconds = time.monotonic() - began
    return trial


class _Stopped(Exception):
    """The trial goes no further."""


class _Run:
    def __init__(self, flow: Flow, steps: list[Step], user: Any, until: float) -> None:
        self.flow = flow
        self.steps = steps
        self.user = user
        self.until = until
        self.id: UUID = uuid7()
        self.trial = FlowTrial()
        # Begins empty, and is shared by the steps.
        self.state = TriedState()
        # The outputs of those that have ended before their end or their join, by branch.
        self.finished: dict[str, str] = {}
        # Messages that a script has sent past other steps: by step, by branch.
        self.ahead: dict[str, dict[str, str]] = {}

    def run(self, payload: str) -> FlowTrial:
        # Messages by the name of their branch; a run that has not fanned out has one, named "".
        messages = {"": wrap(self.id, payload.encode())}
        try:
            for step in self.steps:
                if any("" in each for name, each in self.ahead.items() if name != step.name):
                    continue
                messages |= self.ahead.pop(step.name, {})
                messages = {name: messages[name] for name in sorted(messages, key=_numbers_of)}
                if step.join and "" not in messages:
                    messages = {"": self._joined(self._with_finished(messages))}
                messages = dict(self._at(step, messages))
                if "" in self.finished:
                    break
        except _Stopped as stop:
            self.trial.stop = str(stop)
        else:
            messages = self._with_finished(messages)
            outputs = list(messages.values())
            self.trial.result = outputs[0] if "" in messages else f"[{','.join(outputs)}]"
        return self.trial

    def _with_finished(self, messages: dict[str, str]) -> dict[str, str]:
        """Return the messages with those that ended early, in the order of their branches."""
        found, self.finished = messages | self.finished, {}
        return {name: found[name] for name in sorted(found, key=_numbers_of)}

    def _joined(self, messages: dict[str, str]) -> str:
        body = joined(self.id, list(messages.values()))
        if fault := fault_of_text(body):
            raise _Stopped(fault)
        return body

    def _at(self, step: Step, messages: dict[str, str]) -> Iterator[tuple[str, str]]:
        """Yield what leaves the step, by branch."""
        is_last = step is self.steps[-1]
        for branch, body in messages.items():
            tried = Tried(step, branch, body, is_last)
            output = self._tried(tried)
            if tried.finishes and not is_last:
                self.finished[branch] = output
                continue
            fans_out = not is_last and output.lstrip().startswith("[")
            outputs = dict(_branches_of(branch, output) if fans_out else [(branch, output)])
            if way := tried.trial and tried.trial.goes_to:
                self._require_before_join(step, way, bool(branch) or fans_out)
                self.ahead.setdefault(way, {}).update(outputs)
            else:
                yield from outputs.items()

    def _require_before_join(self, step: Step, way: str, is_branched: bool) -> None:
        after = self.steps[self.steps.index(step) + 1 :]
        join = next((each for each in after if each.join), None)
        if is_branched and join and way in [each.name for each in after[after.index(join) + 1 :]]:
            raise _Stopped(
                f"The step {step.name!r} went past the join {join.name!r}, which a branch may not."
            )

    def _tried(self, tried: Tried) -> str:
        if len(self.trial.tried) >= MOST_TRIALS:
            raise _Stopped(f"A trial of a flow runs {MOST_TRIALS} scripts at the most.")
        if time.monotonic() > self.until:
            raise _Stopped(f"A trial of a flow ends after {MAX_SECONDS:g} s.")
        self.trial.tried.append(tried)
        if tried.step.script.language == Language.CALLABLE:
            tried.note = CALLABLE
            raise _Stopped(tried.note)
        try:
            tried.trial = self._run_script(tried)
        except TooManyTrials as error:
            tried.note = str(error)
            raise _Stopped(tried.note) from error
        if tried.output is None:
            raise _Stopped(_why_it_ends(tried))
        return tried.output

    def _run_script(self, tried: Tried) -> Trial:
        script = tried.step.script
        program, name = script.program(), str(self.user.get_username())
        with recorded(program, name, self.user, script) as services:
            return run_trial(
                program,
                tried.body.encode(),
                is_last=tried.is_last,
                services=services,
                goes_to=self._ways_of(tried.step),
                state=self.state,
                may_start=tuple(self.flow.may_start),
            )

    def _ways_of(self, step: Step) -> tuple[str, ...]:
        after = self.steps[self.steps.index(step) + 1 :]
        return tuple(e.name for n, e in enumerate(after) if n == 0 or e.name in step.goes_to)


def _branches_of(branch: str, output: str) -> Iterator[tuple[str, str]]:
    for number, (text, _) in enumerate(items_of(output), 1):
        yield f"{branch}.{number}".lstrip("."), text


def _numbers_of(branch: str) -> list[int]:
    return [int(number) for number in branch.split(".") if number]


def _why_it_ends(tried: Tried) -> str:
    error = tried.trial and tried.trial.error
    name = tried.step.name
    if isinstance(error, ScriptRetry | ScriptWait):
        after = "" if error.after is None else f" after {error.after:g} s"
        return f"The step {name!r} asked to be run again{after}. A run would wait; the trial ends."
    if isinstance(error, ScriptRejected):
        return f"The step {name!r} rejected the message. A run would end with a dead letter."
    return f"The step {name!r} failed. A run would try again, then end with a dead letter."

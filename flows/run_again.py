"""Start a finished run anew, from its beginning or from one of its steps: the rules for callers."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows import engine
from flows.access.rights import SEES_EVERY_RUN
from flows.errors import (
    FlowNotRunnable,
    InputNotKept,
    PayloadErased,
    RightMissing,
    RunNotFinished,
)
from flows.models import Right, Run, StepVersion
from flows.models.keep import why_not_kept
from flows.monitoring.run_story import first_step, payload_at
from flows.starts.idempotency import known_repeat
from flows.starts.refusals import counting_refusals

if TYPE_CHECKING:
    from flows.access.rights import Caller


@dataclass(frozen=True, slots=True)
class StartedAgain:
    """The run that was started; one within its flow has steps before the one where it begins.

    Of a repeated start it is not said: its run has a status already.
    """

    started: engine.Started
    is_within: bool


def run_again(
    run: Run,
    rights: Set[str],
    *,
    user: Caller,
    step: StepVersion | None = None,
    payload: bytes | None = None,
    idempotency_key: str | None = None,
    counts: bool = False,
    reason: str = "",
) -> StartedAgain:
    """Start a new run of the flow as it is now, with what a step of this run got.

    Without a step it is what the run itself got; a payload takes the place of either. `rights` are
    the caller's rights to the flow. With `counts` the run counts in the start rates. The same
    idempotency key gives the same new run, whatever has become of this run since. The audit log
    has user and reason. Raises RightMissing, RunNotFinished, InputNotKept, PayloadErased, and as
    `engine.start_like` does.
    """
    require_right_to_start(rights)
    if step is None and run.repeats is not None:
        # It may have begun within its flow.
        step = first_step(run)
    if idempotency_key is not None:
        with counting_refusals(run.flow_version.flow_name):
            known = known_repeat(
                run,
                idempotency_key,
                _payload_known(run, step) if payload is None else payload,
                user_id=user.pk if user else None,
                step=step.name if step else None,
            )
        if known:
            return StartedAgain(known, is_within=False)
    if run.status not in Run.FINISHED:
        raise RunNotFinished(f"The run is {run.status}.")
    if run.erased_at:
        raise PayloadErased
    if is_within := begins_within(step):
        _require_right_within(rights, has_payload=payload is not None)
    kept = payload_kept(run, step).encode() if payload is None else b""
    with counting_refusals(run.flow_version.flow_name):
        started = engine.start_like(
            run,
            kept if payload is None else payload,
            step=step,
            user=user,
            idempotency_key=idempotency_key,
            counts=counts,
            is_another=payload is not None,
            reason=reason,
        )
    return StartedAgain(started, is_within)


def begins_within(step: StepVersion | None) -> bool:
    """Say whether a run that begins at this step has others before it. Raises FlowNotRunnable."""
    if step is None:
        return False
    flow = step.flow_version.flow
    names = (
        list(flow.steps.order_by("position", "id").values_list("name", flat=True)) if flow else []
    )
    if step.name not in names:
        raise FlowNotRunnable(f"The flow no longer has a step {step.name!r}.")
    return bool(names[0] != step.name)


def payload_kept(run: Run, step: StepVersion | None) -> str:
    """Return what the step got, or what the run got, digit for digit.

    Raises InputNotKept, and PayloadErased, which is one.
    """
    if run.erased_at:
        raise PayloadErased
    began_at = step or first_step(run)
    payload = payload_at(run, began_at) if began_at else None
    if payload is None:
        raise InputNotKept(why_not_kept(run))
    return payload


def _payload_known(run: Run, step: StepVersion | None) -> bytes | None:
    try:
        return payload_kept(run, step).encode()
    except InputNotKept:
        return None


def require_right_to_start(rights: Set[str]) -> None:
    """Raise RightMissing."""
    if Right.START not in rights:
        raise RightMissing("None of your roles may start the flow of this run.")


def may_edit_within(rights: Set[str]) -> bool:
    """Say whether the caller may choose what a later step gets."""
    return Right.OPERATE in rights


def _require_right_within(rights: Set[str], *, has_payload: bool) -> None:
    """Raise RightMissing unless the caller may have a run begin within its flow.

    The steps before may be there to refuse it: a right to start alone does not lead past them.
    """
    if has_payload and not may_edit_within(rights):
        raise RightMissing("A payload for a later step needs the right to operate the flow.")
    if not rights & SEES_EVERY_RUN:
        raise RightMissing("A later step needs the right to watch or operate the flow, too.")

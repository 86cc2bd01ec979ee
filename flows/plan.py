"""Plans of flows and steps for the hot path, kept in memory.

A step version never changes and its id is never used again, so its plan is kept for good. A flow
may change at any time, so its plan is kept under the configuration revision. This is safe even if a
transaction that made a plan is rolled back: its revision is never used again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from django.db.models import Q, QuerySet

from flows.errors import FlowNotRunnable, PayloadInvalid, PayloadNotChecked, UnknownFlow
from flows.models import ConfigurationRevision, Flow, FlowVersion, StepVersion
from flows.models.flow import id_of_flow
from flows.options import can_be_a_name
from scripts.examination.examiner import NotExamined
from scripts.examination.payload_schema import PayloadSchema
from scripts.protocol.calls import CallSite, Program
from scripts.protocol.schema import SchemaInvalid

# Beyond this number all plans are dropped: most belong to earlier revisions.
MOST_FLOW_PLANS = 1024
# The most attempts to read a flow while the configuration changes.
READINGS = 3


@dataclass(frozen=True, slots=True)
class Way:
    """A later step that a script may choose; `is_past_join`: a join is before it."""

    step_id: int
    name: str
    queue_id: int
    joins: bool
    is_past_join: bool


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Where a message at a step version goes.

    A queue id is 0 if there is no queue: after the last step, or because it was removed.
    `rooms` are the queues that its output may need room in: that of the next step, and those of
    the steps that its script may go to instead, its `ways`.
    `meets_step_id` is the next step with a join, where the branches that leave this step come
    together; None: they come together at the end of the flow.
    """

    step_id: int
    flow_version_id: int
    position: int
    queue_id: int
    next_step_id: int | None
    next_queue_id: int
    next_joins: bool
    meets_step_id: int | None
    meets_queue_id: int
    keep: str
    program: Program
    site: CallSite
    ways: tuple[Way, ...] = ()
    rooms: tuple[int, ...] = ()

    def way(self, name: str) -> Way | None:
        return next((way for way in self.ways if way.name == name), None)


@dataclass(frozen=True, slots=True)
class FlowPlan:
    """The data of a flow that a start needs. `first` is None if the flow has no steps."""

    flow_id: int
    name: str
    active: bool
    flow_version_id: int
    first: StepPlan | None
    input_schema: PayloadSchema | None
    private_webhooks: bool = False
    # The most starts by callers of the API, and in how many seconds; None: no limit.
    start_rate: tuple[int, int] | None = None

    def require_runnable(self) -> StepPlan:
        if not self.active:
            raise FlowNotRunnable(f"The flow {self.name!r} is inactive.")
        if self.first is None or not self.first.queue_id:
            raise FlowNotRunnable(f"The flow {self.name!r} has no steps.")
        return self.first

    def require_valid(self, payload: Any, at_once: bool = False) -> None:
        """Raise PayloadInvalid if the payload does not match the declared input of the first
        script.

        Raises PayloadNotChecked if the check takes too long for now, or, `at_once`, longer than an
        instant.
        """
        if self.input_schema is None:
            return
        if at_once and not self.input_schema.is_quick_for(payload):
            raise PayloadNotChecked
        try:
            faults = self.input_schema.faults(payload)
        except NotExamined as error:
            raise PayloadNotChecked from error
        except SchemaInvalid as error:
            raise _unusable(error) from error
        if faults:
            raise PayloadInvalid(
                "The payload does not match the input parameters of the first script.",
                errors=faults,
            )


@lru_cache(maxsize=4096)
def step_plan(step_id: int) -> StepPlan:
    return build_step_plan(step_id)


def build_step_plan(step_id: int) -> StepPlan:
    return _plan_of(_steps_with_versions().get(pk=step_id))


def _steps_with_versions() -> QuerySet[StepVersion]:
    return StepVersion.objects.select_related("flow_version", "script_version")


def _plan_of(step: StepVersion) -> StepPlan:
    later = list(
        StepVersion.objects.filter(
            flow_version=step.flow_version_id, position__gt=step.position
        ).order_by("position")
    )
    following = later[0] if later else None
    meets = next((each for each in later if each.join), None)
    ways = tuple(_ways(step, later)) if step.goes_to else ()
    if following and not ways:
        ways = (way_to(following),)
    script = step.script_version
    return StepPlan(
        step_id=step.pk,
        flow_version_id=step.flow_version_id,
        position=step.position,
        queue_id=step.queue_id or 0,
        next_step_id=following.pk if following else None,
        next_queue_id=(following.queue_id or 0) if following else 0,
        next_joins=following.join if following else False,
        meets_step_id=meets.pk if meets else None,
        meets_queue_id=(meets.queue_id or 0) if meets else 0,
        keep=step.flow_version.keep,
        program=script.program(),
        site=CallSite(
            flow=step.flow_version.flow_name,
            step=step.name,
            queue=step.queue_name,
            is_last=following is None,
            starts=tuple(step.flow_version.may_start),
            goes_to=tuple(way.name for way in ways),
            flow_id=id_of_flow(step.flow_version) or 0,
        ),
        ways=ways,
        rooms=tuple(dict.fromkeys(way.queue_id for way in ways if way.queue_id)),
    )


def _ways(step: StepVersion, later: Iterable[StepVersion]) -> Iterator[Way]:
    """Yield the next step and those that the step names; names of no later step count nothing."""
    is_past_join = False
    for number, each in enumerate(later):
        if number == 0 or each.name in step.goes_to:
            yield way_to(each, is_past_join)
        is_past_join = is_past_join or each.join


def way_to(step: StepVersion, is_past_join: bool = False) -> Way:
    return Way(step.pk, step.name, step.queue_id or 0, step.join, is_past_join)


@lru_cache(maxsize=4096)
def plan_of_way(step_id: int, to: int) -> StepPlan:
    """Return the plan of a step whose message goes on at a later one, in place of the next.

    `to`: the id of that step version, one of its ways; 0: the next one.
    """
    plan = step_plan(step_id)
    way = next((way for way in plan.ways if way.step_id == to), None)
    if way is None:
        return plan
    return replace(plan, next_step_id=way.step_id, next_queue_id=way.queue_id, next_joins=way.joins)


@lru_cache(maxsize=4096)
def meeting_plan(step_id: int, flow_version_id: int) -> StepPlan | None:
    """Return the step with a join where the branches of a run of this version come together.

    After a dead letter went on with the newest script, branches may have left a step of another
    version. Then the step of the same name counts. None: they come together at the end of the flow.
    """
    plan = step_plan(step_id)
    if plan.flow_version_id != flow_version_id:
        same = StepVersion.objects.filter(flow_version=flow_version_id, name=plan.site.step).first()
        plan = step_plan(same.pk) if same else plan
    return step_plan(plan.meets_step_id) if plan.meets_step_id else None


@lru_cache(maxsize=4096)
def flow_name_of(flow_version_id: int) -> str:
    return FlowVersion.objects.values_list("flow_name", flat=True).get(pk=flow_version_id)


@lru_cache(maxsize=4096)
def _names_of(flow_version_id: int) -> tuple[int | None, frozenset[str]]:
    """Return the flow of a version, and the names that it has had up to that version."""
    version = FlowVersion.objects.get(pk=flow_version_id)
    if version.flow_id is None:
        return None, frozenset([version.flow_name])
    versions = FlowVersion.objects.filter(flow=version.flow_id, number__lte=version.number)
    return version.flow_id, frozenset(versions.order_by().values_list("flow_name", flat=True))


def keys_of(flow_name: str, flow_version_id: int) -> Q:
    """Return the condition of the idempotency keys that count for starts of a flow.

    A key stands under the name that the flow had then. One under another name than the present one
    counts if its run is of this flow: another flow may have that name by now.
    """
    flow_id, names = _names_of(flow_version_id)
    if names <= {flow_name}:
        return Q(flow_name=flow_name)
    own = Q(flow_name=flow_name) | Q(run__flow_version__flow=flow_id)
    # The names alone are for the index.
    return Q(flow_name__in=sorted(names | {flow_name})) & own


@lru_cache(maxsize=4096)
def keep_of(flow_version_id: int) -> str:
    return FlowVersion.objects.values_list("keep", flat=True).get(pk=flow_version_id)


def flow_plan(name: str, revision: str = "") -> FlowPlan:
    """Return the plan of the flow as it is configured now. Raises UnknownFlow.

    A caller that has just read the configuration's revision gives it.
    """
    if not can_be_a_name(name):
        raise UnknownFlow(f"There is no flow {name!r}.")
    plan = None
    for _ in range(READINGS):
        revision = revision or ConfigurationRevision.current()
        if plan := _flow_plans.get((name, revision)):
            _revisions[name] = revision
            return plan
        plan = build_flow_plan(name)
        # Otherwise the plan mixes two configurations, or building it has made the version.
        if ConfigurationRevision.current() == revision:
            _remember(name, revision, plan)
            return plan
        revision = ""
    assert plan is not None
    return plan


def known_flow_plan(name: str) -> tuple[str, FlowPlan] | None:
    """Return the plan that was asked for last and the revision that it is of; None: none is known.

    It costs no query: the caller has to find out whether the configuration has changed since.
    """
    revision = _revisions.get(name)
    plan = _flow_plans.get((name, revision)) if revision else None
    return (revision, plan) if revision and plan else None


def plan_at(name: str, revision: str) -> FlowPlan | None:
    """Return the plan that a flow has at a revision; None: it is not known."""
    return _flow_plans.get((name, revision))


_flow_plans: dict[tuple[str, str], FlowPlan] = {}
# Under which a plan was found last.
_revisions: dict[str, str] = {}


def _remember(name: str, revision: str, plan: FlowPlan) -> None:
    if len(_flow_plans) >= MOST_FLOW_PLANS:
        _flow_plans.clear()
        _revisions.clear()
    _flow_plans[name, revision] = plan
    _revisions[name] = revision


def build_flow_plan(name: str) -> FlowPlan:
    flow = Flow.objects.filter(name=name).first()
    if flow is None:
        raise UnknownFlow(f"There is no flow {name!r}.")
    try:
        version = flow.make_version()
    except Flow.DoesNotExist as error:
        raise UnknownFlow(f"There is no flow {name!r} any more.") from error
    first = _steps_with_versions().filter(flow_version=version).order_by("position").first()
    schema = first and first.script_version.input_schema
    return FlowPlan(
        flow_id=flow.pk,
        name=flow.name,
        active=flow.active,
        flow_version_id=version.pk,
        first=_plan_of(first) if first else None,
        input_schema=_compiled(schema) if schema else None,
        private_webhooks=flow.private_webhooks,
        start_rate=flow.start_rate,
    )


def _compiled(schema: dict[str, Any]) -> PayloadSchema:
    try:
        return PayloadSchema(schema)
    except SchemaInvalid as error:
        raise _unusable(error) from error


def _unusable(error: SchemaInvalid) -> FlowNotRunnable:
    return FlowNotRunnable(f"The input parameters of the first script: {error}")

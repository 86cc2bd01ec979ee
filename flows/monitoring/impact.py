"""What a change touches before it is saved: flows, their runs and messages, and their callers.

It reads counters and a bounded number of rows, whatever there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from flows.models import (
    DeadLetter,
    Flow,
    FlowTotals,
    FlowVersion,
    Message,
    Queue,
    QueueState,
    Run,
    Step,
)
from flows.models.starting import starters_of
from flows.models.users import user_name_field
from scripts.models import Script

# The callers are those of the newest runs.
NEWEST_RUNS = 200
MOST_CALLERS = 5
MOST_COUNTED = 10_000
KEPT_VERSION = (
    "Runs under way finish on the version that they started with. Runs that start after the save"
    " have the new one."
)
# Where the user chooses what becomes of runs under way.
NEW_STARTS = "Runs that start after the save have the new version."
AT_ONCE = "It counts at once, also for the messages that wait."

OF_FLOW = frozenset(
    {
        "name",
        "active",
        "retention",
        "max_age",
        "keep",
        "start_rate_count",
        "start_rate_period",
        "steps",
    }
)
OF_STEP = frozenset({"name", "script", "queue", "threads", "join", "position"})
OF_QUEUE = frozenset(
    {
        "name",
        "size",
        "cluster",
        "max_deliveries",
        "max_wait",
        "backoff_initial",
        "backoff_multiplier",
        "backoff_max",
        "rate_count",
        "rate_period",
    }
)
# All but the description.
OF_SCRIPT = frozenset({"name", "libraries", *Script.CONTENT_FIELDS})


@dataclass(frozen=True, slots=True)
class TouchedFlow:
    """A flow with its runs under way, its open dead letters, and the messages in its queues."""

    pk: int
    name: str
    under_way: int = 0
    waiting: int = 0
    dead_letters: int = 0

    @property
    def is_in_use(self) -> bool:
        return bool(self.under_way or self.waiting or self.dead_letters)

    @property
    def under_way_text(self) -> str:
        return f"{self.under_way:,}"

    @property
    def waiting_text(self) -> str:
        return f"{self.waiting:,}"

    @property
    def dead_letters_text(self) -> str:
        return f"{self.dead_letters:,}"


@dataclass(frozen=True, slots=True)
class Impact:
    """What a change touches; false where it touches nothing."""

    flows: list[TouchedFlow] = field(default_factory=list)
    # Sentences for the user who is about to save.
    notes: list[str] = field(default_factory=list)
    # Whether the flows get a new version by it.
    makes_version: bool = False

    def __bool__(self) -> bool:
        return bool(self.notes)

    @property
    def offers_upgrade(self) -> bool:
        """Whether runs under way can go on with the version that it makes."""
        return self.makes_version and bool(self.under_way or self.waiting)

    @property
    def notes_beside_choice(self) -> list[str]:
        """The sentences for a page that has the choice, where there is one."""
        if not self.offers_upgrade:
            return self.notes
        return [NEW_STARTS if note == KEPT_VERSION else note for note in self.notes]

    @property
    def under_way(self) -> int:
        return sum(flow.under_way for flow in self.flows)

    @property
    def waiting(self) -> int:
        return sum(flow.waiting for flow in self.flows)


def impact_of(obj: Any, changed: Collection[str], new: Any = None) -> Impact:
    """Return what a change of these fields touches.

    `obj` is the flow, step, queue or script as it is stored, `changed` has names of its fields;
    "steps" stands for the steps of a flow. `new` has the values to come, where they are known.
    """
    names = set(changed)
    if isinstance(obj, Flow):
        return _of_flow(obj, names & OF_FLOW, new)
    if isinstance(obj, Step):
        return _of_flow(obj.flow, {"steps"} if names & OF_STEP else set(), None)
    if isinstance(obj, Queue):
        return _of_queue(obj, names & OF_QUEUE, new)
    if isinstance(obj, Script):
        return _of_script(obj, names & OF_SCRIPT)
    return Impact()


def touched(flows: Iterable[Flow]) -> list[TouchedFlow]:
    """Return the flows with what they have at hand: a few queries for all of them."""
    known = list(flows)
    totals = _totals_of(known)
    states = QueueState.objects.filter(queue__step__flow__in=known).order_by()
    waiting = dict(
        states.values_list("queue__step__flow").annotate(
            count=Coalesce(Sum("depth"), 0) + Coalesce(Sum("delayed"), 0)
        )
    )
    return [_touched(flow, totals[flow.pk], waiting.get(flow.pk, 0)) for flow in known]


def _totals_of(flows: list[Flow]) -> dict[int, list[FlowTotals]]:
    """Return the totals of each flow: under its name, and under those that it had."""
    present = {flow.name: flow.pk for flow in flows}
    names = FlowVersion.objects.filter(flow__in=flows).values("flow_name")
    found: defaultdict[int, list[FlowTotals]] = defaultdict(list)
    earlier: dict[str, FlowTotals] = {}
    for each in FlowTotals.objects.filter(Q(pk__in=present) | Q(pk__in=names)):
        if each.flow_name in present:
            found[present[each.flow_name]].append(each)
        else:
            earlier[each.flow_name] = each
    if earlier:
        # Another flow may have the name now, and its totals with it.
        taken = set(Flow.objects.filter(name__in=earlier).values_list("name", flat=True))
        had = FlowVersion.objects.filter(flow__in=flows, flow_name__in=earlier.keys() - taken)
        for pk, name in had.order_by().values_list("flow", "flow_name").distinct():
            found[pk].append(earlier[name])
    return found


def _touched(flow: Flow, totals: list[FlowTotals], waiting: int) -> TouchedFlow:
    under_way = sum(max(each.unfinished, 0) for each in totals)
    letters = sum(each.open_letters for each in totals)
    return TouchedFlow(flow.pk, flow.name, under_way, waiting, letters)


def _of_flow(flow: Flow, changed: set[str], new: Any) -> Impact:
    if not changed:
        return Impact()
    [use] = touched([flow])
    notes = []
    if "name" in changed:
        notes += _address_goes(flow, f"/async/api/flows/{flow.name}/start")
    if "active" in changed and flow.active:
        notes.append("An inactive flow refuses starts with 409. Runs under way go on.")
    if "steps" in changed and use.is_in_use:
        notes.append(KEPT_VERSION)
    if "retention" in changed and _is_shorter(flow.retention, new, "retention"):
        notes.append("Runs that ended longer ago than the new retention are deleted soon.")
    if changed & {"start_rate_count", "start_rate_period"}:
        notes.append("Callers of the API that start more runs are refused with 429.")
    if "max_age" in changed and use.under_way:
        notes.append("Runs under way that are older are not redelivered any more.")
    return Impact([use], notes, makes_version="steps" in changed)


def _is_shorter(old: Any, new: Any, name: str) -> bool:
    value = getattr(new, name, None)
    return value is not None and old is not None and value < old


def _address_goes(flow: Flow, address: str) -> list[str]:
    """Say what happens to callers of a name, and who they are as far as newest runs tell."""
    found = [f"Callers of {address} get 404 from then on."]
    if callers := callers_of(flow):
        found.append(f"Its newest runs were started by {', '.join(callers)}.")
    return found


def versions_with_runs(flow: Flow) -> QuerySet[FlowVersion]:
    """Return the flow's versions that runs have started with, the newest first.

    Of each the index of runs by version tells it.
    """
    has_runs = Exists(Run.objects.filter(flow_version=OuterRef("pk")))
    return flow.versions.filter(has_runs).order_by("-number")


def callers_of(flow: Flow) -> list[str]:
    """Return the names of users that started the flow's newest runs, a few of them."""
    version = versions_with_runs(flow).first()
    if version is None:
        return []
    newest = Run.objects.filter(flow_version=version).order_by("-pk")
    names = newest.values_list(f"started_by__{user_name_field()}", flat=True)[:NEWEST_RUNS]
    callers = list(dict.fromkeys(str(name) for name in names if name is not None))
    more = len(callers) - MOST_CALLERS
    return [*callers[:MOST_CALLERS], *([f"{more} more"] if more > 0 else [])]


def _of_queue(queue: Queue, changed: set[str], new: Any) -> Impact:
    if not changed:
        return Impact()
    state = QueueState.objects.filter(queue=queue).first()
    held = state.depth + state.delayed if state else 0
    flows = touched(Flow.objects.filter(steps__queue=queue))
    notes = []
    if "name" in changed:
        notes.append(f"Callers of /async/api/queues/{queue.name} get 404 from then on.")
    size = getattr(new, "size", None)
    if "size" in changed and size is not None and state and size < state.depth:
        step = queue.fed_step
        is_first = step is None or step == step.flow.steps.first()
        notes.append(
            f"{state.depth:,} messages are in it, more than the new size. They stay, and"
            f" {'starts are refused with 429' if is_first else 'the steps before it wait'} until"
            " there is room again."
        )
    if changed - {"name", "size"} and held:
        notes.append(f"{held:,} messages are in it. {AT_ONCE}")
    return Impact(flows, notes)


def _of_script(script: Script, changed: set[str]) -> Impact:
    if not changed:
        return Impact()
    used_by = Flow.objects.filter(steps__script=script).distinct()
    flows = [each for each in touched(used_by) if each.is_in_use]
    return Impact(flows, [KEPT_VERSION] if flows else [], makes_version=True)


# --- deletions ---------------------------------------------------------------------------------


def flow_goes(flow: Flow) -> list[str]:
    """Say what the deletion of a flow touches."""
    [use] = touched([flow])
    steps, mappings = flow.steps.count(), flow.role_mappings.count()
    schedules = flow.schedules.count()
    notes = [f"Callers of /async/api/flows/{flow.name}/start get 404 from then on."]
    if starters := [each.name for each in starters_of(flow) if each != flow]:
        names = ", ".join(starters)
        notes.append(f"The scripts of {names} cannot start it any more.")
    if use.under_way:
        notes.append(f"{use.under_way:,} runs are under way. They go on to their end.")
    if use.waiting:
        notes.append(f"{use.waiting:,} messages wait in its queues. They are not deleted.")
    if use.dead_letters:
        notes.append(
            f"{use.dead_letters:,} dead letters are open. They stay, and can be reprocessed or"
            " discarded."
        )
    notes.append(
        f"Its steps ({steps}), its schedules ({schedules}) and the rights of roles to it"
        f" ({mappings}) are deleted. Its scripts, queues and finished runs stay."
    )
    return notes


def letters_of_queue(queue: Queue) -> str:
    """Return the number of open dead letters of the queue, as text; a large one is not counted."""
    letters = DeadLetter.objects.open().filter(step__queue=queue)
    count = letters[: MOST_COUNTED + 1].count()
    return f"more than {MOST_COUNTED:,}" if count > MOST_COUNTED else f"{count:,}"


def queue_stays(queue: Queue) -> list[str]:
    """Return the reasons against the deletion of a queue."""
    state = QueueState.objects.filter(queue=queue).first()
    found = []
    if step := queue.fed_step:
        found.append(f"It feeds the step {step.name} of the flow {step.flow.name}.")
    if state and (held := state.depth + state.delayed + state.reserved):
        found.append(f"{held:,} messages are in it.")
    elif Message.objects.filter(queue=queue).exists():
        found.append("Messages are in it.")
    return found

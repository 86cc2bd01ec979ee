"""The steps of a flow with their live figures, for the cards on its page."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from django.db.models import IntegerField, OuterRef, QuerySet, Subquery

from flows.models import DeadLetter, Flow, Queue, Step
from flows.monitoring.kept import Kept
from flows.monitoring.wait_reason import QueueSnapshot
from flows.store.rate_limit import RateLimit
from scripts.models import ScriptVersion

# All that look at the page of a flow see the same figures.
_shared = Kept(1.0)
# Open dead letters are counted up to this number.
MOST_COUNTED = 1_000
SHORT_NAMES = {"python": "PY", "javascript": "JS", "callable": "FN"}
# What the code of a step that fans out has: it returns, or sets, a list.
RETURNS_LIST = {
    "python": re.compile(r"^[ \t]+return[ \t]+(\[|list\()", re.MULTILINE),
    "javascript": re.compile(r"\bsetData\(\s*(\[|[\w.$]+\.(map|filter|flatMap)\()"),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What happens at a step now; `rate_used` is None if its queue has no rate limit."""

    depth: int
    reserved: int
    delayed: int
    size: int
    threads_in_use: int
    rate_used: int | None
    dead: int
    paused: bool
    flow_paused: bool
    why: str | None

    @property
    def percent(self) -> int:
        return min(100, round(100 * (self.depth + self.reserved) / self.size)) if self.size else 0

    @property
    def is_full(self) -> bool:
        return self.depth + self.reserved >= self.size

    @property
    def state(self) -> str:
        """Return one word: `paused`, `full`, `waiting`, `running` or `idle`."""
        if self.paused:
            return "paused"
        if self.is_full:
            return "full"
        if self.why:
            return "waiting"
        return "running" if self.threads_in_use else "idle"

    @property
    def has_more_dead(self) -> bool:
        return self.dead >= MOST_COUNTED


@dataclass(frozen=True, slots=True)
class Card:
    """A step, its place from 1, and how the messages come to it and leave it.

    `is_apart`: several branches of a run may come to the step side by side.
    """

    step: Any
    place: int
    fans_out: bool
    is_apart: bool
    figures: Figures | None
    # The id of the step before it; 0: it is the first.
    after: int
    # Later steps that its script may go to, but for the next one.
    ways: list[str] = field(default_factory=list)

    @property
    def place_before(self) -> int:
        """The place of the step before it, from 0."""
        return self.place - 2

    @property
    def language(self) -> str:
        return SHORT_NAMES.get(self.step.script.language, self.step.script.language)


class CountOf(Subquery):
    """How many rows a subquery has."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()


STEP_COLUMNS = (
    *("flow", "position", "name", "threads", "join", "goes_to"),
    *("script__name", "script__language", "script__code"),
    *("queue__name", "queue__size", "queue__paused", "queue__rate_count"),
)


def steps_of(flow: Flow) -> QuerySet[Step]:
    """Return the steps in their order, with scripts, queues and the number of script versions."""
    versions = ScriptVersion.objects.filter(script=OuterRef("script")).order_by("-number")
    return (
        Step.objects.filter(flow=flow)
        .select_related("script", "queue")
        .only(*STEP_COLUMNS)
        .annotate(script_number=Subquery(versions.values("number")[:1]))
        .order_by("position", "pk")
    )


def cards_of(flow: Flow, *, with_figures: bool, anew: bool = True) -> list[Card]:
    """Return a card for each step; the number of queries does not grow with the steps.

    Without `anew` the figures may be those of a second ago.
    """
    steps = list(steps_of(flow))
    figures = _figures_now(flow, steps, anew) if with_figures and steps else {}
    cards = []
    is_apart = False
    for place, step in enumerate(steps, 1):
        fans_out = returns_list(step.script.language, step.script.code)
        is_apart = is_apart and not step.join
        after = steps[place - 2].pk if place > 1 else 0
        ways = [each.name for each in steps[place + 1 :] if each.name in step.goes_to]
        found = figures.get(step.queue_id)
        cards.append(Card(step, place, fans_out, is_apart, found, after, ways))
        is_apart = is_apart or fans_out
    return cards


def returns_list(language: str, code: str) -> bool:
    """Say whether code looks as if it gives a list, which goes on as branches."""
    pattern = RETURNS_LIST.get(language)
    return pattern is not None and pattern.search(code) is not None


def _figures_now(flow: Flow, steps: list[Any], anew: bool) -> dict[int, Figures]:
    settings = tuple(
        (step.queue_id, step.queue.size, step.queue.paused, step.queue.rate_count) for step in steps
    )
    return _shared.read(
        (flow.pk, flow.paused, settings), lambda: figures_of(flow, steps), anew=anew
    )


def figures_of(flow: Flow, steps: list[Any]) -> dict[int, Figures]:
    """Return the figures by queue."""
    ids = [step.queue_id for step in steps]
    snapshot = QueueSnapshot(Queue.objects.filter(pk__in=ids))
    dead = _open_dead_letters(ids)
    return {
        pk: _figures(pk, flow, snapshot, dead.get(pk, 0)) for pk in ids if pk in snapshot.queues
    }


def _figures(queue_id: int, flow: Flow, snapshot: QueueSnapshot, dead: int) -> Figures:
    queue = snapshot.queues[queue_id]
    return Figures(
        depth=queue.state.depth,
        reserved=queue.state.reserved,
        delayed=queue.state.delayed,
        size=queue.size,
        threads_in_use=queue.granted,
        rate_used=_rate_used(queue, snapshot),
        dead=dead,
        paused=queue.paused or flow.paused,
        flow_paused=flow.paused and not queue.paused,
        why=snapshot.why_queue(queue_id) or snapshot.why_paused(queue_id),
    )


def _rate_used(queue: Any, snapshot: QueueSnapshot) -> int | None:
    if queue.rate_count is None:
        return None
    rate = RateLimit.read(queue.rate_count, queue.rate_period, queue.state.recent_starts)
    return max(queue.rate_count - rate.allowance(snapshot.now.timestamp()), 0)


def _open_dead_letters(queue_ids: list[int]) -> dict[int, int]:
    letters = DeadLetter.objects.open().filter(step__queue=OuterRef("pk")).order_by()
    queues = Queue.objects.filter(pk__in=queue_ids).order_by()
    counted = queues.annotate(dead=CountOf(letters.values("pk")[:MOST_COUNTED]))
    return dict(counted.values_list("pk", "dead"))

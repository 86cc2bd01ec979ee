"""The story of one run, step by step: where it waited, ran and failed. Bounded for any run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, pairwise

from django.db.models import Q

from flows.models import DeadLetter, Message, Run, RunningAttempt, StepRun, StepVersion
from flows.models.payload_text import beginning
from flows.monitoring.trace import Place, running_attempts, statuses_of
from flows.monitoring.wait_reason import script_wait
from flows.store import store
from scripts.models import ScriptVersion
from scripts.protocol.json_text import member_of

# Of the attempts, messages and dead letters of a run at most these numbers are read.
MOST_ATTEMPTS = 2_000
MOST_MESSAGES = 500
MOST_LETTERS = 100
# Characters of an error.
MOST_ERROR = 20_000

WAITED, RAN, BACK_OFF, DEAD, NOW = "waited", "ran", "back-off", "dead", "now"


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the time line: what the run did from then till then."""

    kind: str
    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return max(self.end - self.start, timedelta(0))


@dataclass(slots=True)
class Attempt:
    id: int
    number: int
    branch: str
    outcome: str
    started_at: datetime
    finished_at: datetime
    error: str
    has_input: bool
    is_cut: bool
    # As it was in the flow version that the attempt ran with.
    step_id: int

    @property
    def is_completed(self) -> bool:
        return self.outcome == StepRun.Outcome.COMPLETED


@dataclass(slots=True)
class StepStory:
    """What happened at one step. `attempts` are in the order of their starts."""

    step: StepVersion
    status: str
    attempts: list[Attempt]
    messages: list[Message]
    letters: list[DeadLetter]
    # By the id of a step version: that of this step, and those of its rows.
    scripts: dict[int, ScriptVersion]
    spans: list[Span] = field(default_factory=list)
    # Those of the messages that scripts have been running on for a second or more.
    running: list[tuple[Message, RunningAttempt]] = field(default_factory=list)

    @property
    def script(self) -> ScriptVersion:
        """Return what waits or ran here last; else what the run will run here."""
        # A reprocessing with the newest script leaves attempts of earlier flow versions.
        letters = [each for each in self.letters if _is_open(each)]
        rows: list[Attempt | DeadLetter | Message] = [
            *self.attempts[-1:],
            *letters[-1:],
            *self.messages[-1:],
        ]
        return self.scripts[rows[-1].step_id if rows else self.step.pk]

    @property
    def is_branched(self) -> bool:
        return any(attempt.branch for attempt in self.attempts) or any(
            message.branch for message in self.messages
        )

    @property
    def waited(self) -> timedelta:
        return self._total(WAITED, BACK_OFF)

    @property
    def ran(self) -> timedelta:
        return self._total(RAN, NOW)

    def _total(self, *kinds: str) -> timedelta:
        return sum((span.length for span in self.spans if span.kind in kinds), timedelta(0))

    @property
    def input(self) -> Attempt | Message | DeadLetter | None:
        """Return the row that has what the step got, before any branch of it.

        A dead letter of a run that was erased says so in its place.
        """
        # What failed and was repaired later is not what it got first.
        for letter in self.letters:
            if not letter.branch:
                return letter
        for attempt in self.attempts:
            if attempt.has_input and not attempt.branch:
                return attempt
        for message in self.messages:
            if not message.branch and not message.pending_outputs:
                return message
        return None


@dataclass(slots=True)
class RunStory:
    run: Run
    steps: list[StepStory]
    start: datetime
    end: datetime
    is_cut: bool = False
    # The place of the step whose message waited when the run was cancelled, where it was kept.
    cancelled_at: int | None = None

    @property
    def messages(self) -> list[Message]:
        return [message for step in self.steps for message in step.messages]

    @property
    def waited(self) -> timedelta:
        return sum((step.waited for step in self.steps), timedelta(0))

    @property
    def ran(self) -> timedelta:
        return sum((step.ran for step in self.steps), timedelta(0))


def run_story(run: Run) -> RunStory:
    """Tell what the run did. It takes five queries, whatever the run is.

    One more where a reprocessing has moved the run to another flow version, and where it was
    cancelled.
    """
    now = store().database.now()
    steps = _steps_of(run)
    attempts, is_cut = _attempts_of(run)
    messages = _messages_of(run)
    letters = _letters_of(run)
    places = [
        Place(
            attempts=[{"outcome": attempt.outcome} for attempt in attempts[step.name]],
            waiting=any(message.consumer_id is None for message in messages[step.name]),
            held=any(message.consumer_id is not None for message in messages[step.name]),
            letter=next(({"id": each.pk} for each in letters[step.name] if _is_open(each)), None),
        )
        for step in steps
    ]
    rows = (each for by_step in (attempts, messages, letters) for each in chain(*by_step.values()))
    scripts = _scripts_of(steps, {row.step_id for row in rows})
    stories = [
        StepStory(
            step, status, attempts[step.name], messages[step.name], letters[step.name], scripts
        )
        for step, status in zip(steps, statuses_of(run, places), strict=True)
    ]
    end = run.finished_at if run.finished_at and not any(messages.values()) else now
    _add_running(stories)
    _add_spans(stories, run.created_at, end)
    end = max(end, run.created_at)
    return RunStory(run, stories, run.created_at, end, is_cut, _place_of_cancelled(run, stories))


def _place_of_cancelled(run: Run, stories: Sequence[StepStory]) -> int | None:
    if run.status != Run.Status.CANCELLED:
        return None
    if not Run.objects.filter(pk=run.pk, cancelled_input__isnull=False).exists():
        return None
    at = next((at for at, each in enumerate(stories) if each.status == run.status), None)
    # The step before may have gone past others.
    return None if at and stories[at - 1].step.goes_to else at


def _add_running(stories: Sequence[StepStory]) -> None:
    """Add what is known of scripts that run for long. One query, and only where some are held."""
    messages = [
        {"id": m.pk, "consumer_id": m.consumer_id, "deliveries": m.deliveries}
        for story in stories
        for m in story.messages
    ]
    found = running_attempts(messages)
    for story in stories:
        story.running = [(m, found[m.pk]) for m in story.messages if m.pk in found]


def first_step(run: Run) -> StepVersion | None:
    """Return the step where the run began: the first of its flow, unless it repeats another run."""
    steps = StepVersion.objects.filter(flow_version=run.flow_version_id).order_by("position")
    if run.repeats is not None:
        for model in (StepRun, DeadLetter, Message):
            places = model._default_manager.filter(run=run.pk).order_by("step__position")
            for step_id in places.values_list("step", flat=True)[:1]:
                return steps.filter(pk=step_id).first()
    return steps.first()


def start_envelope(run: Run) -> str | None:
    """Return the message that the run was started with, JSON; None: it was not kept whole."""
    step = first_step(run)
    return envelope_at(run, step) if step else None


def is_start_kept(story: RunStory) -> bool:
    """Say whether `start_envelope` finds the message. Most stories tell it without a query."""
    run = story.run
    if run.erased_at:
        return False
    first = story.steps[0].input if story.steps else None
    if run.repeats is not None or (first is None and _may_be_elsewhere(story)):
        return start_envelope(run) is not None
    return first is not None and not (isinstance(first, Attempt) and first.is_cut)


def _may_be_elsewhere(story: RunStory) -> bool:
    """Say whether the run may have an input that its story does not have."""
    return story.is_cut or story.run.status == Run.Status.CANCELLED


def envelope_at(run: Run, step: StepVersion) -> str | None:
    """Return the message that a step got, before any branch of it; None: it was not kept whole."""
    if run.erased_at:
        return None
    here = Q(run=run.pk, step__position=step.position, branch="")
    letter = DeadLetter.objects.filter(here).order_by("id").values_list("body", flat=True).first()
    if letter:
        return letter
    kept = StepRun.objects.filter(here, input__isnull=False).order_by()
    for text, cut in kept.values_list("input", "input_bytes")[:1]:
        return None if cut else text
    waiting = Message.objects.filter(pk=run.pk, step__position=step.position, pending_outputs=False)
    for body in waiting.values_list("body", flat=True):
        return body
    return _cancelled_at(run, step)


def _cancelled_at(run: Run, step: StepVersion) -> str | None:
    """Return what waited when the run was cancelled, if it waited at this step."""
    if run.cancelled_input is None:
        return None
    done = StepRun.objects.filter(run=run.pk, outcome=StepRun.Outcome.COMPLETED)
    steps = done.order_by("-step__position").values_list("step__position", "step__goes_to")
    begins = first_step(run)
    next_position = begins.position if begins else 0
    for last, goes_to in steps[:1]:
        if goes_to:
            # It may have gone past others.
            return None
        next_position = last + 1
    return run.cancelled_input if next_position == step.position else None


def start_payload(run: Run) -> str | None:
    """Return the payload that the run was started with, JSON; None: it was not kept whole."""
    return _payload_of(start_envelope(run))


def payload_at(run: Run, step: StepVersion) -> str | None:
    """Return the payload that a step got, JSON; None: it was not kept whole."""
    return _payload_of(envelope_at(run, step))


def _payload_of(envelope: str | None) -> str | None:
    try:
        return None if envelope is None else member_of(envelope, "payload")
    except (KeyError, ValueError, RecursionError):
        return None


# --- what is read ------------------------------------------------------------------------------


def _steps_of(run: Run) -> list[StepVersion]:
    steps = StepVersion.objects.filter(flow_version=run.flow_version_id).order_by("position")
    return list(steps.select_related("script_version", "queue"))


def _scripts_of(steps: Sequence[StepVersion], used: set[int]) -> dict[int, ScriptVersion]:
    """Return the script versions of the steps, and of those of earlier flow versions."""
    scripts = {step.pk: step.script_version for step in steps}
    if earlier := used - scripts.keys():
        found = StepVersion.objects.filter(pk__in=earlier).select_related("script_version")
        scripts |= {step.pk: step.script_version for step in found}
    return scripts


def _attempts_of(run: Run) -> tuple[dict[str, list[Attempt]], bool]:
    # Without an order: PostgreSQL would sort all of them, or go through the attempts of all runs.
    rows = (
        StepRun.objects.filter(run=run.pk)
        .order_by()
        .annotate(beginning=beginning("error", MOST_ERROR))
    )
    fields = (
        "id",
        "step",
        "step__name",
        "delivery",
        "branch",
        "outcome",
        "started_at",
        "finished_at",
    )
    kept = {"has_input": Q(input__isnull=False), "is_cut": Q(input_bytes__isnull=False)}
    values = rows.annotate(**kept).values_list(*fields, "beginning", *kept)
    read = list(values[: MOST_ATTEMPTS + 1])
    by_step: dict[str, list[Attempt]] = defaultdict(list)
    numbers: dict[tuple[str, str], int] = defaultdict(int)
    for (
        id,
        step_id,
        step,
        delivery,
        branch,
        outcome,
        started_at,
        finished_at,
        error,
        has,
        cut,
    ) in sorted(read[:MOST_ATTEMPTS]):
        # After a reprocessing the deliveries count from 1 again.
        numbers[step, branch] = number = max(numbers[step, branch] + 1, delivery)
        by_step[step].append(
            Attempt(id, number, branch, outcome, started_at, finished_at, error, has, cut, step_id)
        )
    return by_step, len(read) > MOST_ATTEMPTS


def _messages_of(run: Run) -> dict[str, list[Message]]:
    by_step: dict[str, list[Message]] = defaultdict(list)
    messages = Message.objects.of_run(run.pk).defer("body").select_related("step", "queue")
    for message in messages[:MOST_MESSAGES]:
        by_step[message.step.name].append(message)
    return by_step


def _letters_of(run: Run) -> dict[str, list[DeadLetter]]:
    by_step: dict[str, list[DeadLetter]] = defaultdict(list)
    letters = DeadLetter.objects.filter(run=run.pk).order_by("id").defer("body", "error")
    for letter in letters.select_related("step", "reprocessed_by", "discarded_by")[:MOST_LETTERS]:
        by_step[letter.step.name].append(letter)
    return by_step


def _is_open(letter: DeadLetter) -> bool:
    return letter.reprocessed_at is None and letter.discarded_at is None


# --- the time line -----------------------------------------------------------------------------


def _add_spans(stories: Sequence[StepStory], created_at: datetime, end: datetime) -> None:
    ready = created_at
    for story in stories:
        is_here = bool(story.messages)
        if not story.attempts and not is_here:
            continue
        story.spans = list(_together(story, ready) if story.is_branched else _each(story, ready))
        last = max((attempt.finished_at for attempt in story.attempts), default=ready)
        if is_here:
            story.spans += _up_to_now(story, last, max(end, last))
        ready = last


def _up_to_now(story: StepStory, last: datetime, end: datetime) -> Iterator[Span]:
    """Yield what is since the last attempt: a wait, and then the script where it is at work."""
    kind = _kind_now(story)
    if kind == NOW and story.running:
        begun = min(max(min(each.started_at for _, each in story.running), last), end)
        if story.attempts and not story.is_branched:
            yield from _between(story, story.attempts[-1], begun)
        else:
            yield Span(WAITED, last, begun)
        last = begun
    yield Span(kind, last, end)


def _kind_now(story: StepStory) -> str:
    if any(message.consumer_id is not None for message in story.messages):
        return NOW
    backs_off = any(each.deliveries and script_wait(each) is None for each in story.messages)
    return BACK_OFF if backs_off else WAITED


def _together(story: StepStory, ready: datetime) -> Iterator[Span]:
    """Yield one span for all branches: they wait and run side by side."""
    if not story.attempts:
        return
    first = min(attempt.started_at for attempt in story.attempts)
    yield Span(WAITED, ready, max(first, ready))
    yield Span(RAN, first, max(attempt.finished_at for attempt in story.attempts))


def _each(story: StepStory, ready: datetime) -> Iterator[Span]:
    if not story.attempts:
        return
    first = story.attempts[0]
    yield Span(WAITED, ready, max(first.started_at, ready))
    yield Span(RAN, first.started_at, first.finished_at)
    for before, after in pairwise(story.attempts):
        yield from _between(story, before, after.started_at)
        yield Span(RAN, after.started_at, after.finished_at)


def _between(story: StepStory, before: Attempt, end: datetime) -> Iterator[Span]:
    """Yield what was between two attempts: a wait, a back-off, or the time as a dead letter."""
    start = before.finished_at
    requeued = [letter.reprocessed_at for letter in story.letters if letter.reprocessed_at]
    for at in requeued:
        if start <= at <= end:
            yield Span(DEAD, start, at)
            yield Span(WAITED, at, end)
            return
    is_wait = before.outcome == StepRun.Outcome.WAITING
    yield Span(WAITED if is_wait else BACK_OFF, start, max(end, start))

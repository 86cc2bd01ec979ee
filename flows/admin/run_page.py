"""What the page of a run shows, made from its story."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import orjson
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from flows.admin.by_role import may_view
from flows.admin.display import STATUS_LABELS, first_line, page_of, rounded
from flows.admin.run_bodies import CANCELLED, address_of_body
from flows.models import DeadLetter, Message, Queue, Run, StepRun
from flows.models.keep import why_not_kept
from flows.monitoring.progress import progress_told, progress_words
from flows.monitoring.run_story import NOW, Attempt, RunStory, Span, StepStory
from flows.monitoring.times import rfc3339
from flows.monitoring.trace import PENDING, RUNNING, SKIPPED
from scripts.models import ScriptVersion
from scripts.templatetags.times import moment

# A step may have thousands of branches.
MOST_ATTEMPTS = 50
# Characters of an attempt's logs.
MOST_LOGS = 20_000
# Percent of the time line: what is shorter is still to be seen.
NARROWEST = 0.4

# Neither is a failure.
OUTCOME_LABELS = STATUS_LABELS | {"RETRY": "warning", "WAITING": "info"}
KINDS = {Attempt: "attempt", Message: "message", DeadLetter: "letter"}
WORDS = {
    "PENDING": "Not reached",
    "SKIPPED": "Skipped",
    "QUEUED": "Waits",
    "RUNNING": "Runs",
    "COMPLETED": "Completed",
    "FAILED": "Failed",
    "CANCELLED": "Cancelled",
    "WAITING": "Waits for something",
}


def steps_shown(
    request: HttpRequest, story: RunStory, sees_payloads: bool, may_start: bool = False
) -> list[dict[str, Any]]:
    steps = [_step(request, story, number, sees_payloads) for number in range(len(story.steps))]
    if may_start and sees_payloads:
        for number, step in enumerate(steps):
            step["again"] = _again(story, number)
    _add_logs(steps)
    return steps


def state_in_words(story: RunStory) -> str:
    """Say where the run is: at which step it runs or fails, in which queue it waits."""
    run, messages = story.run, story.messages
    for message in messages:
        if message.consumer_id is not None:
            return f"Runs the step {message.step.name}"
    for message in messages:
        if message.delayed:
            return f"Starts at {rfc3339(message.available_at, 'seconds')}"
        return f"Waits in the queue {message.queue or message.step.queue_name}"
    if run.status == Run.Status.FAILED:
        failed = [step.step.name for step in story.steps if step.status == Run.Status.FAILED]
        return f"Failed at the step {failed[0]}" if failed else "Failed"
    return WORDS[run.status]


def _step(
    request: HttpRequest, story: RunStory, number: int, sees_payloads: bool
) -> dict[str, Any]:
    told = story.steps[number]
    step = told.step
    version = told.script
    shown = most_telling(told.attempts)
    queue = step.queue
    return {
        "number": number + 1,
        "name": step.name,
        "status": told.status,
        "words": WORDS[told.status],
        "label": STATUS_LABELS.get(told.status, ""),
        "joins": step.join,
        "script": version,
        "script_url": may_view(request, ScriptVersion, version) and page_of(version),
        "queue": step.queue_name,
        "queue_url": queue and may_view(request, Queue) and page_of(queue),
        "waited": rounded(told.waited) if told.spans else "",
        "ran": rounded(told.ran) if told.attempts or told.ran else "",
        "bars": [_bar(span, story) for span in told.spans],
        "input": _body_at(story, number, "input") if sees_payloads else None,
        "output": _output(story, number) if sees_payloads else None,
        "groups": [
            *(_group(story.run, told, group, sees_payloads) for group in _alike(shown)),
            *_running(story, told),
        ],
        "hidden_attempts": len(told.attempts) - len(shown),
        "letters": [{"letter": letter, "url": page_of(letter)} for letter in told.letters],
    }


def _again(story: RunStory, number: int) -> dict[str, str] | None:
    """Return where a new run begins at this step, or why none can; None: no message came here."""
    run, told = story.run, story.steps[number]
    url = reverse("admin:flows_run_from_step", args=[run.pk, told.step.position])
    if not told.attempts and not told.messages and not told.letters:
        return {"url": url} if number == story.cancelled_at else None
    if run.erased_at:
        return {"why": why_not_kept(run)}
    if told.is_branched:
        return {"why": "Each of its branches had an input of its own."}
    kept = told.input
    if kept is None:
        return {"why": why_not_kept(run)}
    if isinstance(kept, Attempt) and kept.is_cut:
        return {"why": "Only the beginning of its input was kept."}
    return {"url": url}


def _body_at(story: RunStory, number: int, use: str) -> dict[str, Any] | None:
    """Return where the input of a step is; `use`: as what the page shows it."""
    row = story.steps[number].input
    if row is None and number == story.cancelled_at:
        address = address_of_body(story.run, CANCELLED, "whole")
        return {"id": f"{use}-{CANCELLED}", "url": address}
    return _body(story.run, row, use)


def _body(
    run: Run, row: Attempt | Message | DeadLetter | None, use: str = "input"
) -> dict[str, Any] | None:
    if row is None:
        return None
    kind, id = KINDS[type(row)], str(row.id)
    return {"id": f"{use}-{kind}-{id}", "url": address_of_body(run, kind, id)}


def _output(story: RunStory, number: int) -> dict[str, Any] | None:
    """Return where a step's output is: what the step got that came after it, or the result."""
    told, run = story.steps[number], story.run
    if told.status in {PENDING, SKIPPED}:
        return None
    after = range(number + 1, len(story.steps))
    place = next((each for each in after if story.steps[each].status != SKIPPED), None)
    if place is None:
        if run.status != Run.Status.COMPLETED or told.status != Run.Status.COMPLETED:
            return None
        if told.is_branched:
            return {"note": "What each branch gave is in the result of the run."}
        return {"id": "output-result", "url": address_of_body(run, "result", "whole")}
    following = story.steps[place]
    if following.is_branched and not told.is_branched:
        return {"note": f"A list: each branch of {following.step.name} got one of it."}
    if told.is_branched:
        joins = following.step.join and following.input
        note = f"What the branches gave is the input of {following.step.name}."
        return {"note": note} if joins else None
    return _body_at(story, place, "output")


def _bar(span: Span, story: RunStory) -> dict[str, Any]:
    whole = max((story.end - story.start).total_seconds(), 0.001)
    left = min(max((span.start - story.start).total_seconds() / whole, 0), 1) * 100
    width = min(max(span.length.total_seconds() / whole * 100, NARROWEST), 100)
    left = min(left, 100 - width)
    words = "goes on" if span.kind == NOW else span.kind
    return {
        "kind": span.kind,
        "left": f"{left:.2f}",
        "width": f"{width:.2f}",
        "title": f"{words}: {rounded(span.length)}, from {span.start:%H:%M:%S.%f} UTC",
    }


# --- attempts ----------------------------------------------------------------------------------


def most_telling(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Return the attempts that fit on a page; failed ones take precedence."""
    if len(attempts) <= MOST_ATTEMPTS:
        return list(attempts)
    numbered = sorted(enumerate(attempts), key=lambda each: each[1].is_completed)
    return [attempt for _, attempt in sorted(numbered[:MOST_ATTEMPTS], key=lambda each: each[0])]


def _alike(attempts: Sequence[Attempt]) -> Iterator[list[Attempt]]:
    """Yield attempts of a version with the same error, one after the other, as one."""

    def look(attempt: Attempt) -> tuple[str, int, str, Any]:
        return attempt.branch, attempt.step_id, attempt.outcome, attempt.error or attempt.id

    ordered = sorted(attempts, key=lambda attempt: (attempt.branch, attempt.id))
    for _, group in groupby(ordered, look):
        yield list(group)


def _group(run: Run, told: StepStory, group: list[Attempt], sees_payloads: bool) -> dict[str, Any]:
    first, last = group[0], group[-1]
    script = told.scripts[first.step_id]
    branch = f"Branch {first.branch}, " if first.branch else ""
    numbers = f"attempt {first.number}"
    if len(group) > 1:
        numbers = f"attempts {first.number} to {last.number}"
    name = f"{branch}{numbers}"
    return {
        "id": f"attempts-{first.id}",
        "name": name[0].upper() + name[1:],
        "times": len(group) if len(group) > 1 else 0,
        # Where it is not the one that the head of the step has.
        "script": script if script.pk != told.script.pk else "",
        "outcome": first.outcome,
        "label": OUTCOME_LABELS.get(first.outcome, "danger"),
        "started": first.started_at,
        "ended": last.finished_at,
        "duration": rounded(sum((each.finished_at - each.started_at for each in group), ZERO)),
        "first_line": first_line(first.error),
        "error": first.error,
        "last_id": last.id,
        "ids": [each.id for each in group],
        "input": _body(run, last) if first.branch and last.has_input and sees_payloads else None,
        "logs": "",
    }


def _running(story: RunStory, told: StepStory) -> Iterator[dict[str, Any]]:
    """Yield the attempts that run, with what their scripts have said so far."""
    for message, running in told.running[:MOST_ATTEMPTS]:
        number = 1 + max(
            (each.number for each in told.attempts if each.branch == message.branch), default=0
        )
        attempt = Attempt(
            id=-1,
            number=max(number, running.delivery),
            branch=message.branch,
            outcome=RUNNING,
            started_at=running.started_at,
            finished_at=max(story.end, running.started_at),
            error="",
            has_input=False,
            is_cut=False,
            step_id=message.step_id,
        )
        logs = _logs_shown(running.logs) if running.logs else ""
        yield _group(story.run, told, [attempt], sees_payloads=False) | {
            "id": f"running-{message.pk}",
            "is_running": True,
            "logs": logs,
            "progress": _progress(progress_told(running)),
        }


def _progress(told: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return how far a script says that it is, for a bar; without a total there is none."""
    if told is None:
        return None
    done, total = told["done"], told["total"]
    return {
        "bar": {"done": min(done, total), "total": total} if total else None,
        "words": progress_words(told),
        "at": datetime.fromtimestamp(told["at"], UTC),
    }


ZERO = timedelta(0)


def _add_logs(steps: Sequence[dict[str, Any]]) -> None:
    """Add the logs of the last attempt of each group, all by one query."""
    groups = {group["last_id"]: group for step in steps for group in step["groups"]}
    logs = StepRun.objects.filter(pk__in=groups).exclude(logs="").values_list("pk", "logs")
    for pk, text in logs:
        groups[pk]["logs"] = _logs_shown(text)


def _logs_shown(text: str) -> SafeString:
    lines: list[tuple[str, str]] = []
    left = MOST_LOGS
    for entry in orjson.loads(text):
        words = f"{entry['level']:<8} {entry['text']}"
        at = moment(datetime.fromtimestamp(entry["at"], UTC), "precise")
        lines.append((at, words[:left]))
        left -= len(words)
        if left < 0:
            lines.append(("…", "cut here; the API has the rest"))
            break
    return format_html_join("\n", "{} {}", lines)

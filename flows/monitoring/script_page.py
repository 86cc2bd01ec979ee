"""What flows add to the page of a script: messages for a trial, and the steps that use it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.urls import reverse

from flows.access.rights import (
    SEES_EVERY_RUN,
    dead_letters_known,
    flows_allowed,
    flows_with,
    queues_seen,
    rights_by_flow,
)
from flows.models import DeadLetter, Message, Right, Step, StepVersion
from flows.models.payload_text import length
from flows.monitoring.impact import Impact, impact_of
from scripts.extensions import Sample, Use
from scripts.models import Script

MOST = 5
# Dead letters that wait for a script.
MOST_COUNTED = 1_000
# In characters. The page holds all samples.
LONGEST = 200_000
LONGEST_CHOSEN = 1024 * 1024
HIDDEN_FLOW = "a flow that you may not see"
HIDDEN = Use("a step of a flow that you may not see", "")


def samples_of(script: Script, user: Any, choice: str = "") -> Iterator[Sample]:
    """Yield the newest dead letters of the script, then messages that wait for it.

    A dead letter is chosen by its id.
    """
    for letter in _dead_letters(script, user, choice):
        label = f"{letter.dead_at:%Y-%m-%d %H:%M:%S} UTC, {letter.reason}, {letter.step}"
        is_chosen = str(letter.pk) == choice
        yield Sample("Dead letters", label, letter.body, is_chosen, _is_last(letter.step))
    for message in _waiting_messages(script, user):
        yield Sample(
            "Runs",
            f"{message.run_id}, waits for {message.step}",
            message.body,
            False,
            _is_last(message.step),
        )


def _is_last(step: StepVersion | None) -> bool:
    if step is None:
        return False
    later = StepVersion.objects.filter(flow_version=step.flow_version_id)
    return not later.filter(position__gt=step.position).exists()


def _dead_letters(script: Script, user: Any, choice: str) -> list[DeadLetter]:
    """Return the newest that are not too long, after the chosen one if it is none of these."""
    steps = StepVersion.objects.filter(script_version__script=script)
    letters = dead_letters_known(user).filter(step__in=steps).select_related("step")
    letters = letters.order_by("-id")
    short = letters.annotate(length=length("body")).filter(length__lte=LONGEST)
    newest: list[DeadLetter] = list(short[:MOST])
    if not choice.isdecimal() or choice in {str(letter.pk) for letter in newest}:
        return newest
    chosen = letters.annotate(length=length("body")).filter(pk=choice, length__lte=LONGEST_CHOSEN)
    return [*chosen, *newest]


def _waiting_messages(script: Script, user: Any) -> QuerySet[Message]:
    # By queue, which has an index. The next message is the first that a changed script would get.
    queues = Step.objects.filter(script=script, queue__in=queues_seen(user)).values("queue")
    messages = Message.objects.annotate(length=length("body"))
    rights = rights_by_flow(user)
    if not rights[None] & SEES_EVERY_RUN:
        # A queue may still hold messages of a flow that it fed before.
        flows = flows_with(rights, SEES_EVERY_RUN)
        messages = messages.filter(step__flow_version__flow__in=flows)
    return (
        messages.filter(queue__in=queues, length__lte=LONGEST, pending_outputs=False)
        .select_related("step")
        .order_by("queue", "priority", "available_at")[:MOST]
    )


def uses_of(script: Script, user: Any) -> Iterator[Use]:
    """Yield the steps that run the script; one of a flow that the user does not see has no name."""
    seen = set(flows_allowed(user, Right.values).values_list("pk", flat=True))
    steps = Step.objects.filter(script=script).select_related("flow")
    for step in steps.order_by("flow__name", "position"):
        if step.flow_id not in seen:
            yield HIDDEN
            continue
        url = reverse("admin:flows_flow_change", args=[step.flow_id])
        yield Use(f"{step.flow.name}, step {step.name}", url)


def impact_on(script: Script, changed: Collection[str], user: Any) -> Impact:
    """Return what a change of the script touches; flows that the user does not see have no name."""
    found = impact_of(script, changed)
    seen = set(flows_allowed(user, Right.values).values_list("pk", flat=True))
    flows = [each if each.pk in seen else replace(each, name=HIDDEN_FLOW) for each in found.flows]
    return replace(found, flows=flows)


def offers_of(script: Script, user: Any) -> Iterator[Use]:
    """Yield the offer to reprocess what died with an earlier version of the script."""
    rights = rights_by_flow(user)
    latest = script.versions.order_by("-number").first()
    if latest is None:
        return
    steps = StepVersion.objects.filter(script_version__script=script)
    if Right.OPERATE not in rights[None]:
        steps = steps.filter(flow_version__flow__in=flows_with(rights, {Right.OPERATE}))
    waiting = DeadLetter.objects.open().filter(step__in=steps).order_by()
    if not waiting.filter(step__in=steps.exclude(script_version=latest)).exists():
        return
    # All of them, as the page that it leads to counts them.
    count = waiting[: MOST_COUNTED + 1].count()
    number = f"more than {MOST_COUNTED:,}" if count > MOST_COUNTED else f"{count:,}"
    what = "dead letter that waits" if count == 1 else "dead letters that wait"
    url = f"{reverse('admin:flows_reprocessing_begin')}?{urlencode({'of_script': script.name})}"
    yield Use(f"Reprocess the {number} {what} for this script", url)

"""Messages of runs and dead letters, for the test bench of their script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Length

from flows.models import DeadLetter, Message, Step, StepVersion
from scripts.models import Script
from scripts.samples import Sample

MOST = 5
# Characters; a page has to hold them all.
LONGEST = 200_000


def samples_of(script: Script, user: Any) -> Iterator[Sample]:
    """Yield the newest dead letters of the script, then messages that wait for it."""
    if user.has_perm("flows.view_deadletter"):
        for letter in _newest_dead_letters(script):
            label = f"{letter.dead_at:%Y-%m-%d %H:%M:%S} {letter.reason}, {letter.step}"
            yield Sample("Dead letters", label, letter.body)
    if user.has_perm("flows.view_run"):
        for message in _waiting_messages(script):
            yield Sample("Runs", f"{message.run_id}, waits for {message.step}", message.body)


def _newest_dead_letters(script: Script) -> QuerySet[DeadLetter]:
    steps = StepVersion.objects.filter(script_version__script=script)
    letters = DeadLetter.objects.annotate(length=Length("body"))
    return (
        letters.filter(step__in=steps, length__lte=LONGEST)
        .select_related("step")
        .order_by("-id")[:MOST]
    )


def _waiting_messages(script: Script) -> QuerySet[Message]:
    # By queue, which has an index. What comes next is the message that a change would meet first.
    queues = Step.objects.filter(script=script).values("queue")
    messages = Message.objects.annotate(length=Length("body"))
    return (
        messages.filter(queue__in=queues, length__lte=LONGEST, spilled=False)
        .select_related("step")
        .order_by("queue", "priority", "available_at")[:MOST]
    )

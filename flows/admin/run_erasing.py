"""Erasing the payloads of a run from its page."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.contrib import messages
from django.forms import Form
from django.http import HttpRequest, HttpResponse

from flows.admin.display import page_of
from flows.erasure.erasing import Selection, preview
from flows.errors import FlowError
from flows.models import Run
from flows.tasks.erasing import erase_many
from scripts.admin.dialogs import asking, dialog, leave_dialog

if TYPE_CHECKING:
    from scripts.admin.base import ReadOnlyAdmin as Base
else:
    Base = object

NAMES = {
    "results": "results",
    "waitingMessages": "waiting messages",
    "runErrors": "errors of runs",
    "inputs": "inputs of steps",
    "attemptErrors": "errors of attempts",
    "logs": "logs of attempts",
    "runningAttempts": "logs of broken attempts",
    "deadLetters": "dead letters",
    "branchEnds": "outputs of branches",
    "searchTexts": "texts of the search",
    "idempotencyKeys": "idempotency keys",
    "webhookDeliveries": "deliveries of webhooks",
}


def what_goes(run: Run) -> str:
    """Say what is erased with the run, and of how many runs."""
    try:
        found = preview(Selection(run=run.pk), Run.objects.all())
    except FlowError as error:
        return str(error)
    parts = ", ".join(f"{NAMES[name]} ({count:,})" for name, count in found.places.items())
    what = f"What goes: {parts}." if parts else "Nothing is kept of them."
    return f"Runs: {found.runs - found.erased:,}. {what}"


class RunErasing(Base):
    """The part of the runs' admin that erases payloads."""

    def seen_run(self, request: HttpRequest, run_id: UUID) -> Run:
        raise NotImplementedError

    @asking(
        dialog(
            "Erase the payloads of {obj}?",
            "Payloads, results, errors, logs and dead letters are erased everywhere, for ever, with"
            " those of the runs that repeat it and that its scripts have started. The runs stay"
            " with their times and labels. The audit log records it.",
            "Erase the payloads",
            "Keep them",
            asks_reason=True,
            is_danger=True,
        ),
        describe=what_goes,
        description="Erase the payloads",
        icon="ink_eraser",
        permissions=["operate"],
    )
    def erase(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        run = self.seen_run(request, UUID(object_id))
        try:
            erased = erase_many(
                Selection(run=run.pk), user=request.user, reason=form.cleaned_data.get("reason", "")
            )
        except FlowError as error:
            self.message_user(request, str(error), messages.ERROR)
            return leave_dialog(page_of(run))
        if erased.is_complete:
            note = f"The payloads were erased. Runs: {erased.runs:,}."
        else:
            note = (
                f"The payloads of {erased.erased:,} of {erased.runs:,} runs are erased. Workers"
                " erase the rest."
            )
        self.message_user(request, note, messages.SUCCESS)
        return leave_dialog(page_of(run))

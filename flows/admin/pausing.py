"""Pause and resume, for queues and flows."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.enums import ActionVariant

from flows import engine
from flows.admin.by_role import ConfiguredByRole
from flows.admin.display import page_of
from flows.models import Flow, Queue, Right
from flows.monitoring.impact import impact_of
from scripts.admin.base import ConfigurationAdmin
from scripts.admin.bulk import bulk_action
from scripts.admin.dialogs import DetailActions, ReasonForm, asking, dialog, leave_dialog
from scripts.admin.rendering import render_value
from scripts.names import address_note, twin_note

HELD_BACK = "No message is handed out until it is resumed. Running scripts end as usual."
HANDED_OUT = "Its messages are handed out again."


def to_pause(model_admin: Any, request: HttpRequest, targets: list[Any]) -> Any:
    return _operated(model_admin, request, targets, paused=True)


def to_resume(model_admin: Any, request: HttpRequest, targets: list[Any]) -> Any:
    return _operated(model_admin, request, targets, paused=False)


def _operated(
    model_admin: Any, request: HttpRequest, targets: list[Any], *, paused: bool
) -> tuple[list[Any], list[str]]:
    """Return those that the user operates and that are not so yet, and notes about the others."""
    operated = model_admin.permitted(request, Right.OPERATE, targets)
    changed = [target for target in operated if target.paused != paused]
    notes = []
    if left_out := len(targets) - len(operated):
        notes.append(f"Left out, because none of your roles operates them: {left_out}.")
    if same := len(operated) - len(changed):
        state = "paused" if paused else "not paused"
        notes.append(f"Left out, because they are {state}: {same}.")
    return changed, notes


class PauseForm(ReasonForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        help_text = "Optional: shown while it is paused, and kept in the audit log."
        self.fields["reason"].help_text = help_text


class PausingAdmin(DetailActions, ConfiguredByRole, ConfigurationAdmin):
    """Pauses and resumes, from the list and on the page. `actions_detail` names both actions."""

    actions_detail: tuple[str, ...]

    def impact_of(self, request: HttpRequest, obj: Any, changed: set[str], new: Any) -> Any:
        return impact_of(obj, changed, new)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if "name" in form.changed_data:
            # Of those that the user sees: a note gives away no other.
            seen = self.get_queryset(request).prefetch_related(None).exclude(pk=obj.pk)
            twins = twin_note(obj.name, seen.values_list("name", flat=True).iterator())
            for note in filter(None, (address_note(obj.name), twins)):
                self.message_user(request, note, messages.WARNING)

    def labelled(self, target: Queue | Flow, state: str, colour: str) -> SafeString:
        """Return the state as a label, and under it who has paused it and why."""
        label = render_value("unfold/helpers/label.html", {"type": colour, "text": state})
        by = f"by {target.paused_by}" if target.paused_by else ""
        told = ": ".join(filter(None, (by, target.pause_reason))) if target.paused else ""
        if not told:
            return label
        return format_html('{}<small class="pause-told" title="{}">{}</small>', label, told, told)

    @admin.display(description="state")
    def pause_state(self, target: Queue | Flow) -> str:
        if not target.paused:
            return "open"
        by = f" by {target.paused_by}" if target.paused_by else ""
        why = f": {target.pause_reason}" if target.pause_reason else ""
        return f"paused{by}{why}"

    @bulk_action("Pause", HELD_BACK, to_pause, permissions=["operate"], asks_reason=True)
    def pause_selected(self, request: HttpRequest, targets: list[Any], reason: str) -> None:
        self._set_paused(request, targets, True, reason)

    @bulk_action("Resume", HANDED_OUT, to_resume, permissions=["operate"], asks_reason=True)
    def resume_selected(self, request: HttpRequest, targets: list[Any], reason: str) -> None:
        self._set_paused(request, targets, False, reason)

    @asking(
        {
            **dialog("Pause the {kind} {obj}?", HELD_BACK, "Pause", "Let it go on"),
            "form_class": PauseForm,
        },
        description="Pause",
        icon="pause",
        permissions=["operate"],
    )
    def pause(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        reason = form.cleaned_data.get("reason", "")
        return self._set_one_paused(request, object_id, True, reason)

    @asking(
        dialog("Resume the {kind} {obj}?", HANDED_OUT, "Resume", asks_reason=True),
        description="Resume",
        icon="resume",
        permissions=["operate"],
        variant=ActionVariant.PRIMARY,
    )
    def resume(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        reason = form.cleaned_data.get("reason", "")
        return self._set_one_paused(request, object_id, False, reason)

    def offered(self, obj: Queue | Flow) -> list[str]:
        without_effect = "pause" if obj.paused else "resume"
        return [name for name in self.actions_detail if name != without_effect]

    def _set_one_paused(
        self, request: HttpRequest, object_id: str, paused: bool, reason: str = ""
    ) -> HttpResponse:
        target = get_object_or_404(self.get_queryset(request), pk=object_id)
        self._set_paused(request, [target], paused, reason)
        return leave_dialog(page_of(target))

    def _set_paused(
        self, request: HttpRequest, targets: Any, paused: bool, reason: str = ""
    ) -> None:
        verb = engine.pause if paused else engine.resume
        operated = self.permitted(request, Right.OPERATE, targets)
        if left_out := len(targets) - len(operated):
            note = f"Left out, because none of your roles operates them: {left_out}."
            self.message_user(request, note, messages.WARNING)
        changed = [target for target in operated if target.paused != paused]
        for target in changed:
            verb(target, user=request.user, reason=reason)
        if not changed:
            self.message_user(request, "Nothing to change.", messages.INFO)
            return
        names = ", ".join(target.name for target in changed)
        done = "Paused" if paused else "Resumed"
        self.message_user(request, f"{done}: {names}.", messages.SUCCESS)

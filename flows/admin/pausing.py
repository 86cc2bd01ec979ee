"""Pause and resume, for queues and flows."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import CharField, Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from flows import engine
from flows.admin.by_role import ConfiguredByRole
from flows.admin.display import page_of
from flows.models import Flow, Queue, Right
from flows.monitoring.impact import impact_of
from scripts.admin.base import ConfigurationAdmin
from scripts.admin.dialogs import DetailActions, dialog, leave_dialog
from scripts.names import address_note

STATE_LABELS = {"paused": "warning", "open": "success"}


class PauseForm(BaseDialogForm):
    reason = CharField(
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="Optional: shown while it is paused, and kept in the audit log.",
    )


class PausingAdmin(DetailActions, ConfiguredByRole, ConfigurationAdmin):
    """Pauses and resumes, from the list and on the page. `actions_detail` names both actions."""

    actions_detail: tuple[str, ...]

    def impact_of(self, request: HttpRequest, obj: Any, changed: set[str], new: Any) -> Any:
        return impact_of(obj, changed, new)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if "name" in form.changed_data and (note := address_note(obj.name)):
            self.message_user(request, note, messages.WARNING)

    @display(description="state", ordering="paused", label=STATE_LABELS)
    def state_label(self, target: Queue | Flow) -> tuple[str, str]:
        return ("paused" if target.paused else "open"), self.pause_state(target)

    @admin.display(description="state")
    def pause_state(self, target: Queue | Flow) -> str:
        if not target.paused:
            return "open"
        by = f" by {target.paused_by}" if target.paused_by else ""
        why = f": {target.pause_reason}" if target.pause_reason else ""
        return f"paused{by}{why}"

    @admin.action(description="Pause the selected %(verbose_name_plural)s", permissions=["operate"])
    def pause_selected(self, request: HttpRequest, targets: QuerySet[Any]) -> None:
        self._set_paused(request, targets, True)

    @admin.action(
        description="Resume the selected %(verbose_name_plural)s", permissions=["operate"]
    )
    def resume_selected(self, request: HttpRequest, targets: QuerySet[Any]) -> None:
        self._set_paused(request, targets, False)

    @action(
        description="Pause",
        icon="pause",
        permissions=["operate"],
        dialog={
            **dialog(
                "Pause?",
                "No message is handed out until it is resumed. Running scripts end as usual.",
                "Pause",
                "Let it go on",
            ),
            "form_class": PauseForm,
        },
    )
    def pause(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        reason = form.cleaned_data.get("reason", "")
        return self._set_one_paused(request, object_id, True, reason)

    @action(
        description="Resume",
        icon="resume",
        permissions=["operate"],
        variant=ActionVariant.PRIMARY,
        dialog=dialog("Resume?", "Its messages are handed out again.", "Resume"),
    )
    def resume(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        return self._set_one_paused(request, object_id, False)

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

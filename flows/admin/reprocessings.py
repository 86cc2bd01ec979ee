"""Reprocessing many dead letters: the form that begins it and the page of its progress."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminSelectWidget,
)

from flows.access.rights import flows_allowed, flows_with, rights_by_flow
from flows.admin.by_role import (
    ByRole,
    has_right_everywhere,
    has_right_somewhere,
    rights_of,
)
from flows.admin.display import level, list_of, page_of, shown_time
from flows.dead_letters import DeadLetterFilter, Matched
from flows.models import DeadLetter, Queue, Reprocessing, Right
from flows.tasks import reprocessing
from flows.tasks.reprocessing import SAMPLE
from scripts.admin.base import ReadOnlyAdmin
from scripts.admin.dialogs import DetailActions, dialog, leave_dialog

State, ScriptChoice = Reprocessing.State, Reprocessing.ScriptChoice
STATE_LABELS = {
    State.RUNNING.value: "primary",
    State.STOPPED.value: "warning",
    State.FINISHED.value: "success",
}
ANY = ("", "any")
# The labels of a filter's fields, in the order in which the page shows them.
WORDS = {
    "flow_name": "flow",
    "queue": "queue",
    "reason": "reason",
    "dead_after": "dead after",
    "dead_before": "dead before",
}


class ReprocessingForm(forms.Form):
    flow_name = forms.ChoiceField(label="Flow", required=False, widget=UnfoldAdminSelectWidget)
    queue = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    reason = forms.ChoiceField(
        required=False, choices=[ANY, *DeadLetter.Reason.choices], widget=UnfoldAdminSelectWidget
    )
    script = forms.ChoiceField(
        label="Script version",
        choices=ScriptChoice.choices,
        initial=ScriptChoice.OWN,
        widget=UnfoldAdminRadioSelectWidget,
    )
    sample = forms.IntegerField(
        label="First sample",
        min_value=0,
        initial=SAMPLE,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="This many go first. The rest waits until their runs have ended. 0: no sample.",
    )
    stop_after_failures = forms.IntegerField(
        required=False,
        min_value=1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="It stops when this many have failed again. Empty: it never stops.",
    )
    rate_per_second = forms.FloatField(
        required=False,
        min_value=0.001,
        max_value=1_000_000,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="Dead letters a second. Empty: no limit.",
    )

    def __init__(self, data: Any, initial: Any, user: Any) -> None:
        super().__init__(data, initial=initial)
        flows = flows_allowed(user, {Right.OPERATE})
        is_everywhere = Right.OPERATE in rights_by_flow(user)[None]
        # Only the right to every flow covers deleted flows.
        self.flow_ids = None if is_everywhere else list(flows.values_list("pk", flat=True))
        queues = (
            Queue.objects.all() if is_everywhere else Queue.objects.filter(step__flow__in=flows)
        )
        for field, rows in (("flow_name", flows), ("queue", queues)):
            names = rows.order_by("name").values_list("name", flat=True)
            choices = [ANY, *((name, name) for name in names)]
            self.fields[field].choices = choices  # type: ignore[attr-defined]

    def reprocess(self, user: Any, *, dry_run: bool) -> Matched:
        """Begin the reprocessing; with `dry_run` only count the dead letters."""
        given = {name: value or None for name, value in self.cleaned_data.items()}
        return reprocessing.reprocess_many(
            DeadLetterFilter(given["flow_name"], given["queue"], given["reason"]),
            user=user,
            flow_ids=self.flow_ids,
            rate_per_second=given["rate_per_second"],
            stop_after_failures=given["stop_after_failures"],
            sample=self.cleaned_data["sample"],
            newest_script=given["script"] == ScriptChoice.NEWEST,
            dry_run=dry_run,
        )


@admin.register(Reprocessing)
class ReprocessingAdmin(DetailActions, ByRole, ReadOnlyAdmin):
    opened_by = frozenset({Right.OPERATE})
    list_display = ("begun", "which", "state_label", "progress", "failed_again", "note", "user")
    list_select_related = ("user",)
    fieldsets = (
        (None, {"fields": ("state_label", "note", "begun", "user", "ended")}),
        ("Which and how", {"fields": ("which", "script", "sample", "stop_after_failures", "rate")}),
        (
            "Result",
            {
                "fields": (
                    "progress",
                    "completed",
                    "failed_again",
                    "cancelled",
                    "outstanding",
                    "refused",
                    "last_refusal",
                )
            },
        ),
    )
    actions_list: Any = ("begin",)
    actions_detail = ("stop",)

    def seen(self, request: HttpRequest) -> Q | None:
        """Operators of every flow see all, others their own while they operate all its flows."""
        if has_right_everywhere(request, {Right.OPERATE}):
            return None
        operated = set(flows_with(rights_of(request), {Right.OPERATE}))
        own = Reprocessing.objects.filter(user=request.user.pk, flow_ids__isnull=False)
        flow_ids = own.values_list("pk", "flow_ids")
        return Q(pk__in=[pk for pk, flows in flow_ids if operated.issuperset(flows or ())])

    def has_operate_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        if object_id is not None and self.get_object(request, str(object_id)) is None:
            return request.user.is_superuser
        return has_right_somewhere(request, {Right.OPERATE})

    def offered(self, obj: Reprocessing) -> tuple[str, ...]:
        return ("stop",) if obj.state == State.RUNNING else ()

    @action(
        description="Reprocess many",
        icon="replay",
        permissions=["operate"],
        variant=ActionVariant.PRIMARY,
    )
    def begin(self, request: HttpRequest) -> HttpResponse:
        form = ReprocessingForm(request.POST or None, initial=request.GET.dict(), user=request.user)
        matched = None
        if form.is_valid():
            matched = form.reprocess(request.user, dry_run="count" in request.POST)
        if matched and matched.reprocessing:
            note = f"Dead letters that are being reprocessed: {matched.matched:,}."
            self.message_user(request, note, messages.SUCCESS)
            return redirect(page_of(matched.reprocessing))
        context = {
            **self.admin_site.each_context(request),
            "title": "Reprocess many",
            "card_title": "Reprocess many dead letters at the steps where they failed",
            "verb": "Reprocess",
            "opts": self.opts,
            "form": form,
            "matched": matched,
            "back_url": list_of(DeadLetter),
        }
        return TemplateResponse(request, "admin/flows/reprocessing/begin.html", context)

    @action(
        description="Stop",
        icon="stop_circle",
        permissions=["operate"],
        variant=ActionVariant.DANGER,
        dialog=dialog(
            "Stop?",
            "No further dead letter is reprocessed. Reprocessed messages go on.",
            "Stop",
        ),
    )
    def stop(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        found = get_object_or_404(Reprocessing, pk=object_id)
        reprocessing.stop(found, user=request.user)
        self.message_user(request, f"{found.get_state_display()}.", messages.INFO)
        return leave_dialog(page_of(found))

    @admin.display(description="begun", ordering="id")
    def begun(self, found: Reprocessing) -> str:
        return shown_time(found.created_at)

    @admin.display(description="ended")
    def ended(self, found: Reprocessing) -> str:
        return shown_time(found.finished_at)

    @admin.display(description="dead letters")
    def which(self, found: Reprocessing) -> str:
        shown = [f"{WORDS[name]} {found.filter[name]}" for name in WORDS if name in found.filter]
        return ", ".join(shown) or "all"

    @display(description="state", label=STATE_LABELS)
    def state_label(self, found: Reprocessing) -> str:
        return found.state

    @admin.display(description="reprocessed")
    def progress(self, found: Reprocessing) -> str:
        return level(found.reprocessed, found.matched, warns=False)

    @admin.display(description="rate")
    def rate(self, found: Reprocessing) -> str:
        return f"{found.rate_per_second:g} a second" if found.rate_per_second else "-"

    @admin.display(description="still running")
    def outstanding(self, found: Reprocessing) -> int:
        return found.outstanding

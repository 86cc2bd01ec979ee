from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from flows import engine
from flows.admin.display import first_line, moment, page_of
from flows.admin.filters import (
    DeadLetterFlowFilter,
    DeadLetterStateFilter,
    MomentRangeFilter,
    QueueFilter,
    ReasonFilter,
)
from flows.envelope import parse_payload
from flows.errors import AlreadyReprocessed, FlowError, PayloadInvalid
from flows.models import DeadLetter
from scripts.admin.base import ReadOnlyAdmin, preformatted
from scripts.admin.json_fields import CodeWidget, indented, pretty_json


class ReprocessForm(forms.Form):
    payload = forms.CharField(
        widget=CodeWidget(rows=16),
        strip=False,
        help_text="Repair it if that is what the message died of. Earlier steps are not run again.",
    )

    def clean_payload(self) -> dict[str, Any]:
        try:
            return parse_payload(self.cleaned_data["payload"].encode())
        except PayloadInvalid as error:
            raise forms.ValidationError(str(error)) from error


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = (
        "died",
        "flow",
        "step",
        "queue",
        "reason_label",
        "short_error",
        "deliveries",
        "reprocessed",
    )
    list_filter = (
        DeadLetterFlowFilter,
        QueueFilter,
        ReasonFilter,
        DeadLetterStateFilter,
        ("dead_at", MomentRangeFilter),
    )
    list_filter_submit = True
    list_select_related = ("step__flow_version", "reprocessed_by")
    ordering = ("-id",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "run",
                    "flow",
                    "step",
                    "queue",
                    "reason",
                    "deliveries",
                    "dead_at",
                    "reprocessed_at",
                    "reprocessed_by",
                )
            },
        ),
        ("Error", {"fields": ("error_text",)}),
        ("Message", {"fields": ("message",)}),
    )
    actions = ("reprocess_selected",)
    actions_detail = ("reprocess",)

    def has_reprocess_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return request.user.has_perm("flows.change_deadletter")

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        letter = self.get_object(request, str(object_id))
        if letter is None or letter.reprocessed_at:
            return []
        return super().get_actions_detail(request, object_id)

    @admin.display(description="flow")
    def flow(self, letter: DeadLetter) -> str:
        return str(letter.step.flow_version)

    @admin.display(description="queue")
    def queue(self, letter: DeadLetter) -> str:
        return letter.step.queue_name

    @display(
        description="reason",
        label={"exhausted": "warning", "rejected": "danger", "invalid-output": "danger"},
    )
    def reason_label(self, letter: DeadLetter) -> str:
        return letter.reason

    @admin.display(description="dead at", ordering="dead_at")
    def died(self, letter: DeadLetter) -> str:
        return moment(letter.dead_at)

    @admin.display(description="reprocessed at")
    def reprocessed(self, letter: DeadLetter) -> str:
        return moment(letter.reprocessed_at)

    @admin.display(description="error")
    def short_error(self, letter: DeadLetter) -> str:
        return first_line(letter.error)

    @admin.display(description="error")
    def error_text(self, letter: DeadLetter) -> str:
        return preformatted(letter.error)

    @admin.display(description="as the step received it")
    def message(self, letter: DeadLetter) -> str:
        return preformatted(pretty_json(letter.body))

    @admin.action(description="Reprocess the selected dead letters", permissions=["reprocess"])
    def reprocess_selected(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        done = skipped = 0
        refused: list[str] = []
        for pk in list(letters.order_by("pk").values_list("pk", flat=True)):
            letter = DeadLetter.objects.select_related("step").get(pk=pk)
            try:
                engine.reprocess(letter, user=request.user)  # type: ignore[arg-type]
                done += 1
            except AlreadyReprocessed:
                skipped += 1
            except FlowError as error:
                refused.append(f"{letter}: {error}")
        if done:
            self.message_user(request, f"Reprocessed: {done}.", messages.SUCCESS)
        if skipped:
            note = f"Skipped, since they were reprocessed before: {skipped}."
            self.message_user(request, note, messages.INFO)
        if refused:
            note = f"Not reprocessed: {len(refused)}. The first: {refused[0]}"
            self.message_user(request, note, messages.ERROR)

    @action(
        description="Reprocess",
        icon="replay",
        permissions=["reprocess"],
        variant=ActionVariant.PRIMARY,
    )
    def reprocess(self, request: HttpRequest, object_id: str) -> HttpResponse:
        letter = self.get_object(request, object_id)
        if letter is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.has_view_permission(request, letter):
            raise PermissionDenied
        text = payload_text(letter)
        form = ReprocessForm(request.POST or None, initial={"payload": text})
        if request.method == "POST" and form.is_valid():
            # A payload that was left alone travels as it is, digit for digit.
            changed = _lines(form.data["payload"]) != _lines(text)
            payload = form.cleaned_data["payload"] if changed else None
            if response := self._reprocess_one(request, letter, payload, form):
                return response
        context = {
            **self.admin_site.each_context(request),
            "title": "Reprocess",
            "opts": self.opts,
            "original": letter,
            "form": form,
            "letter": letter,
            "first_line": first_line(letter.error),
            "back_url": page_of(letter),
        }
        return TemplateResponse(request, "admin/flows/deadletter/reprocess.html", context)

    def _reprocess_one(
        self,
        request: HttpRequest,
        letter: DeadLetter,
        payload: dict[str, Any] | None,
        form: ReprocessForm,
    ) -> HttpResponse | None:
        try:
            run = engine.reprocess(letter, user=request.user, payload=payload)  # type: ignore[arg-type]
        except AlreadyReprocessed as error:
            self.message_user(request, str(error), messages.WARNING)
            return redirect(page_of(letter))
        except FlowError as error:
            form.add_error(None, str(error))
            return None
        self.message_user(
            request, f"Reprocessed: the run goes on at {letter.step}.", messages.SUCCESS
        )
        return redirect(page_of(run))


def payload_text(letter: DeadLetter) -> str:
    try:
        payload = json.loads(letter.body)["payload"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return letter.body
    return indented(payload)


def _lines(text: str) -> list[str]:
    return text.strip().splitlines()

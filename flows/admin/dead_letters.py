"""Dead letters: the list, the page, and how to reprocess and discard them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils.html import format_html
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminRadioSelectWidget

from flows import engine
from flows.access.rights import SEES_EVERY_RUN, flows_with
from flows.admin.by_role import ByRole, rights_of, sees_every_flow
from flows.admin.display import first_line, link, page_of, shown_time, shown_time_by
from flows.admin.filters import (
    DeadLetterFlowFilter,
    DeadLetterStateFilter,
    QueueFilter,
    ReasonFilter,
    TimeRangeFilter,
)
from flows.admin.long_texts import (
    EDITABLE,
    LongTexts,
    is_longer_than,
    shown_text,
    whole_url,
)
from flows.errors import AlreadyReprocessed, FlowError, PayloadInvalid, QueueFull
from flows.message.envelope import parse_payload, parse_value, payload_of, takes_any_payload
from flows.models import DeadLetter, Right, Run, Step
from scripts.admin.base import ReadOnlyAdmin, preformatted
from scripts.admin.dialogs import DetailActions, dialog, leave_dialog
from scripts.admin.json_fields import CodeWidget, pretty_json

OWN, NEWEST = "own", "newest"
STATE_LABELS = {"open": "warning", "reprocessed": "success", "discarded": "info"}
REASON_LABELS = {
    DeadLetter.Reason.EXHAUSTED.value: "warning",
    DeadLetter.Reason.EXPIRED.value: "warning",
    DeadLetter.Reason.REJECTED.value: "danger",
    DeadLetter.Reason.INVALID.value: "danger",
    DeadLetter.Reason.TOO_MANY.value: "danger",
    DeadLetter.Reason.NO_QUEUE.value: "danger",
    DeadLetter.Reason.TOO_LARGE.value: "danger",
    DeadLetter.Reason.NOT_STORABLE.value: "danger",
}


class ReprocessForm(forms.Form):
    script = forms.ChoiceField(
        label="Script version",
        widget=UnfoldAdminRadioSelectWidget,
        initial=OWN,
        required=False,
        help_text="With the newest version the run goes on with the flow as it is now.",
    )
    payload = forms.CharField(
        widget=CodeWidget(rows=16),
        strip=False,
        help_text="Change it if the message failed because of it. Earlier steps do not run again.",
    )

    def __init__(self, letter: DeadLetter, data: Any = None) -> None:
        is_long = is_longer_than(letter, "body", EDITABLE)
        super().__init__(data, initial={} if is_long else {"payload": payload_text(letter)})
        if is_long:
            del self.fields["payload"]
        self.letter = letter
        self.fields["script"].choices = script_choices(letter)  # type: ignore[attr-defined]

    def clean_payload(self) -> bytes | None:
        """Return the text as the user wrote it, None if the user did not change it."""
        text = self.cleaned_data["payload"]
        if _plain(text) == _plain(self.initial["payload"]):
            return None
        try:
            payload: bytes = text.encode()
            if takes_any_payload(self.letter.body):
                parse_value(payload)
            else:
                parse_payload(payload)
        except PayloadInvalid as error:
            raise forms.ValidationError(str(error)) from error
        return payload


@admin.register(DeadLetter)
class DeadLetterAdmin(DetailActions, ByRole, LongTexts, ReadOnlyAdmin):
    opened_by = SEES_EVERY_RUN
    long_texts = ("body",)
    list_display = (
        "died",
        "flow",
        "step",
        "queue",
        "reason_label",
        "short_error",
        "deliveries",
        "state_label",
    )
    list_filter = (
        DeadLetterFlowFilter,
        QueueFilter,
        ReasonFilter,
        DeadLetterStateFilter,
        ("dead_at", TimeRangeFilter),
    )
    list_filter_submit = True
    list_select_related = ("step__flow_version",)
    ordering = ("-id",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "run",
                    "flow",
                    "step",
                    "script",
                    "queue",
                    "branch",
                    "reason",
                    "deliveries",
                    "died",
                    "reprocessed",
                    "discarded",
                )
            },
        ),
        ("Error", {"fields": ("error_text",)}),
        ("Message", {"fields": ("message",)}),
    )
    actions_list: Any = ("reprocess_many",)
    actions = ("reprocess_selected", "reprocess_selected_newest", "discard_selected")
    actions_detail = ("discard", "reprocess")

    def seen(self, request: HttpRequest) -> Q | None:
        if sees_every_flow(request):
            return None
        return Q(step__flow_version__flow__in=flows_with(rights_of(request), SEES_EVERY_RUN))

    def flow_of(self, obj: DeadLetter) -> int | None:
        return obj.step.flow_version.flow_id

    def offered(self, obj: DeadLetter) -> tuple[str, ...]:
        return ("discard", "reprocess") if decision_on(obj) == "open" else ()

    @admin.display(description="flow")
    def flow(self, letter: DeadLetter) -> str:
        return str(letter.step.flow_version)

    @admin.display(description="script")
    def script(self, letter: DeadLetter) -> str:
        version = letter.step.script_version
        shown = link(page_of(version), version)
        if version.script is None:
            return shown
        trial = f"{page_of(version.script)}?sample={letter.pk}"
        return format_html("{}, {}", shown, link(trial, "try it on this message"))

    @admin.display(description="queue")
    def queue(self, letter: DeadLetter) -> str:
        return letter.step.queue_name

    @display(description="reason", label=REASON_LABELS)
    def reason_label(self, letter: DeadLetter) -> str:
        return letter.reason

    @admin.display(description="dead at", ordering="dead_at")
    def died(self, letter: DeadLetter) -> str:
        return shown_time(letter.dead_at)

    @display(description="state", label=STATE_LABELS)
    def state_label(self, letter: DeadLetter) -> str:
        return decision_on(letter)

    @admin.display(description="reprocessed")
    def reprocessed(self, letter: DeadLetter) -> str:
        return shown_time_by(letter.reprocessed_at, letter.reprocessed_by)

    @admin.display(description="discarded")
    def discarded(self, letter: DeadLetter) -> str:
        return shown_time_by(letter.discarded_at, letter.discarded_by)

    @admin.display(description="error")
    def short_error(self, letter: DeadLetter) -> str:
        return first_line(letter.error)

    @admin.display(description="error")
    def error_text(self, letter: DeadLetter) -> str:
        return preformatted(letter.error)

    @admin.display(description="as the step received it")
    def message(self, letter: DeadLetter) -> str:
        return shown_text(letter, "body")

    @admin.action(description="Reprocess the selected dead letters", permissions=["operate"])
    def reprocess_selected(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        self._reprocess_all(request, letters, newest_script=False)

    @admin.action(
        description="Reprocess the selected dead letters with the newest scripts",
        permissions=["operate"],
    )
    def reprocess_selected_newest(
        self, request: HttpRequest, letters: QuerySet[DeadLetter]
    ) -> None:
        self._reprocess_all(request, letters, newest_script=True)

    def _reprocess_all(
        self, request: HttpRequest, letters: QuerySet[DeadLetter], newest_script: bool
    ) -> None:
        def reprocess(letter: DeadLetter) -> None:
            engine.reprocess(letter, user=request.user, newest_script=newest_script)

        self._decide(request, letters, reprocess, "reprocessed")

    @admin.action(description="Discard the selected dead letters", permissions=["operate"])
    def discard_selected(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> None:
        def discard(letter: DeadLetter) -> None:
            engine.discard(letter, user=request.user)

        self._decide(request, letters, discard, "discarded")

    def _decide(
        self,
        request: HttpRequest,
        letters: QuerySet[DeadLetter],
        verb: Callable[[DeadLetter], None],
        done_name: str,
    ) -> None:
        """Call the verb with each, the oldest first, and show the results as messages."""
        done = skipped = 0
        refused: list[str] = []
        chosen = letters.select_related("step__flow_version").order_by("pk")
        operated = self.permitted(request, Right.OPERATE, chosen)
        if left_out := len(chosen) - len(operated):
            note = f"Left out, because none of your roles operates their flows: {left_out}."
            self.message_user(request, note, messages.WARNING)
        for pk in [letter.pk for letter in operated]:
            letter = DeadLetter.objects.select_related("step__flow_version__flow").get(pk=pk)
            try:
                verb(letter)
                done += 1
            except AlreadyReprocessed:
                skipped += 1
            except FlowError as error:
                refused.append(f"{letter}: {error}")
        if done:
            self.message_user(request, f"{done_name.capitalize()}: {done}.", messages.SUCCESS)
        if skipped:
            note = f"Skipped, because they were reprocessed or discarded before: {skipped}."
            self.message_user(request, note, messages.INFO)
        if refused:
            note = f"Not {done_name}: {len(refused)}. The first: {refused[0]}"
            self.message_user(request, note, messages.ERROR)

    @action(
        description="Discard",
        icon="delete",
        permissions=["operate"],
        dialog=dialog(
            "Discard this dead letter?",
            "It cannot be reprocessed afterwards, and its run stays failed. A run with another"
            " branch that was reprocessed goes on without this one.",
            "Discard",
        ),
    )
    def discard(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        letter = get_object_or_404(DeadLetter, pk=object_id)
        try:
            run = engine.discard(letter, user=request.user)
            stays = run.status == Run.Status.FAILED
            note = "its run stays failed" if stays else "its run goes on without it"
            self.message_user(request, f"Discarded: {note}.", messages.SUCCESS)
        except AlreadyReprocessed:
            self._report_decision(request, letter)
        except QueueFull as error:
            self.message_user(request, str(error), messages.ERROR)
        return leave_dialog(page_of(letter))

    @action(description="Reprocess many", icon="replay", permissions=["operate"])
    def reprocess_many(self, request: HttpRequest) -> HttpResponse:
        return redirect("admin:flows_reprocessing_begin")

    @action(
        description="Reprocess",
        icon="replay",
        permissions=["operate"],
        variant=ActionVariant.PRIMARY,
    )
    def reprocess(self, request: HttpRequest, object_id: str) -> HttpResponse:
        letter = self.get_object(request, object_id)
        if letter is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        form = ReprocessForm(letter, request.POST or None)
        if form.is_valid() and (response := self._reprocess_one(request, letter, form)):
            return response
        context = {
            **self.admin_site.each_context(request),
            "title": "Reprocess",
            "card_title": "Reprocess at the step where it failed",
            "verb": "Reprocess",
            "opts": self.opts,
            "original": letter,
            "form": form,
            "letter": letter,
            "decision": decision_on(letter),
            "first_line": first_line(letter.error),
            "back_url": page_of(letter),
            "whole_url": whole_url(letter, "body"),
        }
        return TemplateResponse(request, "admin/flows/deadletter/reprocess.html", context)

    def _reprocess_one(
        self, request: HttpRequest, letter: DeadLetter, form: ReprocessForm
    ) -> HttpResponse | None:
        try:
            run = engine.reprocess(
                letter,
                user=request.user,
                payload=form.cleaned_data.get("payload"),
                newest_script=form.cleaned_data["script"] == NEWEST,
            )
        except AlreadyReprocessed:
            self._report_decision(request, letter)
            return redirect(page_of(letter))
        except FlowError as error:
            form.add_error(None, str(error))
            return None
        self.message_user(
            request, f"Reprocessed: the run goes on at {letter.step}.", messages.SUCCESS
        )
        return redirect(page_of(run))

    def _report_decision(self, request: HttpRequest, letter: DeadLetter) -> None:
        letter.refresh_from_db()
        note = f"The dead letter was {decision_on(letter)} before."
        self.message_user(request, note, messages.WARNING)


def decision_on(letter: DeadLetter) -> str:
    if letter.discarded_at:
        return "discarded"
    return "reprocessed" if letter.reprocessed_at else "open"


def script_choices(letter: DeadLetter) -> list[tuple[str, str]]:
    """Return the script versions for the step; the newest only while the flow has the step."""
    choices = [(OWN, f"its own: {letter.step.script_version}")]
    present = Step.objects.filter(flow=letter.step.flow_version.flow_id, name=letter.step.name)
    if step := present.select_related("script").first():
        choices.append((NEWEST, f"the newest: {step.script.current_version}"))
    return choices


def payload_text(letter: DeadLetter) -> str:
    payload = payload_of(letter.body)
    return letter.body if payload is None else pretty_json(payload)


def _plain(text: str) -> str:
    """Return the text with the line ends that it had before the browser changed them."""
    return text.replace("\r\n", "\n").strip()

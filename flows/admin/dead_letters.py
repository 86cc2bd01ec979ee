"""Dead letters: the list, the page, and how to reprocess and discard them."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextInputWidget

from flows import engine
from flows.access.rights import SEES_EVERY_RUN, flows_with
from flows.admin.by_role import (
    ByRole,
    has_right,
    has_right_somewhere,
    may_view,
    rights_of,
    sees_every_flow,
)
from flows.admin.display import first_line, list_of, page_of, shown_time, shown_time_by
from flows.admin.filters import (
    CodeFilter,
    DeadLetterFlowFilter,
    DeadLetterStateFilter,
    ErrorClassFilter,
    QueueFilter,
    ReasonFilter,
    ScriptFilter,
    StepFilter,
)
from flows.admin.letter_list import (
    MOST_SEARCHED,
    BoundedPaginator,
    DeadAtFilter,
    groups_shown,
    is_search_blind,
    is_search_cut,
    many_url,
    search,
)
from flows.admin.long_texts import EDITABLE, LongTexts, beginning_of, is_longer_than, whole_url
from flows.admin.reprocessing_form import MOST_IDS, ids_in
from flows.admin.starting import require_size
from flows.dead_letters import count_by_step
from flows.errors import AlreadyReprocessed, FlowError, PayloadInvalid, QueueFull
from flows.message.envelope import parse_payload, parse_value, payload_of, takes_any_payload
from flows.message.error_class import naming_line
from flows.models import DeadLetter, Flow, Queue, Right, Run, Step
from flows.options import LONGEST_REASON
from scripts.admin.base import ReadOnlyAdmin
from scripts.admin.bulk import STORES_ROW_BY_ROW
from scripts.admin.dialogs import DetailActions, asking, dialog, leave_dialog
from scripts.admin.editor import EditorWidget
from scripts.admin.json_fields import pretty_json
from scripts.admin.site import register, site
from scripts.examination.examiner import NotExamined
from scripts.examination.payload_schema import PayloadSchema
from scripts.models import Script, ScriptVersion
from scripts.protocol.json_layout import indented
from scripts.protocol.schema import SchemaInvalid

OWN, NEWEST = "own", "newest"
OF_FLOW = "step__flow_version__flow"
STATE_LABELS = {"open": "warning", "reprocessed": "success", "discarded": "info"}
REASON_LABELS = {
    DeadLetter.Reason.EXHAUSTED.value: "warning",
    DeadLetter.Reason.EXPIRED.value: "warning",
    DeadLetter.Reason.REJECTED.value: "danger",
    DeadLetter.Reason.INVALID.value: "danger",
    DeadLetter.Reason.CANNOT_WORK.value: "danger",
    DeadLetter.Reason.TOO_MANY.value: "danger",
    DeadLetter.Reason.NO_QUEUE.value: "danger",
    DeadLetter.Reason.TOO_LARGE.value: "danger",
    DeadLetter.Reason.NOT_STORABLE.value: "danger",
}


class ReprocessForm(forms.Form):
    script = forms.ChoiceField(
        label="Script version",
        widget=UnfoldAdminRadioSelectWidget,
        required=False,
        help_text="With the newest version the run goes on with the flow as it is now.",
    )
    payload = forms.CharField(
        widget=EditorWidget("json", rows=16),
        strip=False,
        help_text="Change it if the message failed because of it. Earlier steps do not run again.",
    )

    reason = forms.CharField(
        required=False,
        max_length=LONGEST_REASON,
        widget=UnfoldAdminTextInputWidget,
        help_text="Optional; it stays in the audit log.",
    )

    def __init__(self, letter: DeadLetter, data: Any = None) -> None:
        is_long = is_longer_than(letter, "body", EDITABLE)
        super().__init__(data, initial={} if is_long else {"payload": payload_text(letter)})
        if is_long:
            del self.fields["payload"]
        self.letter = letter
        # The places in the payload that the schema refuses.
        self.faults: list[dict[str, str]] = []
        self.fields["script"].choices = script_choices(letter)  # type: ignore[attr-defined]
        self.fields["script"].initial = NEWEST if has_newer_script(letter) else OWN

    def clean_payload(self) -> bytes | None:
        """Return the text as the user wrote it, None if it says the same as before."""
        text = self.cleaned_data["payload"]
        if pretty_json(_plain(text)) == _plain(self.initial["payload"]):
            return None
        try:
            payload: bytes = text.encode()
            require_size(payload)
            if takes_any_payload(self.letter.body):
                parse_value(payload, comes_back=True)
            else:
                parse_payload(payload, comes_back=True)
        except PayloadInvalid as error:
            raise forms.ValidationError(str(error)) from error
        return payload

    def clean(self) -> dict[str, Any]:
        """Check a payload that was changed by the schema of the script that it goes to.

        One that was left alone goes on as it is: the schema may be what was wrong.
        """
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        payload = cleaned.get("payload")
        version = version_chosen(self.letter, cleaned.get("script") or OWN)
        if payload is not None and version.input_schema:
            self.faults = self._faults(version.input_schema, payload)
            places = [f"{fault['path']}: {fault['detail']}" for fault in self.faults]
            if places:
                self.add_error("payload", [f"{version} does not take this payload.", *places])
        return cleaned

    def _faults(self, schema: dict[str, Any], payload: bytes) -> list[dict[str, str]]:
        try:
            return PayloadSchema(schema).faults(parse_value(payload, comes_back=True))
        except (NotExamined, SchemaInvalid):
            # The script checks it again, with its own limits.
            return []


@register(DeadLetter)
class DeadLetterAdmin(DetailActions, ByRole, LongTexts, ReadOnlyAdmin):
    class Media:
        css: ClassVar[Any] = {"all": ["flows/runs.css", "flows/letters.css"]}
        js = ("flows/copy.js", "flows/json.js")

    opened_by = SEES_EVERY_RUN
    long_texts = ("body",)
    unlisted_texts = ("details",)
    list_display = (
        "died",
        "short_error",
        "at",
        "reason_label",
        "deliveries",
        "state_label",
        "again",
    )
    list_display_links = ("died", "short_error")
    list_filter = (
        DeadLetterFlowFilter,
        StepFilter,
        QueueFilter,
        ScriptFilter,
        ReasonFilter,
        CodeFilter,
        ErrorClassFilter,
        DeadLetterStateFilter,
        ("dead_at", DeadAtFilter),
    )
    list_filter_submit = True
    list_per_page = 25
    list_select_related = (OF_FLOW,)
    list_before_template = "admin/flows/deadletter/groups.html"
    change_form_template = "admin/flows/deadletter/change_form.html"
    search_fields = ("error", "body")
    search_help_text = "Text in error or payload, or the id of a run"
    ordering = ("-id",)
    sortable_by = ()
    paginator = BoundedPaginator
    show_full_result_count = False
    actions_list: Any = ("reprocess_many",)
    actions = ("reprocess_selected", "discard_selected")
    actions_detail = ("discard", "reprocess")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Return the list, whose rows know whether the user may reprocess them."""
        base: Any = super().get_changelist(request, **kwargs)

        class LetterList(base):
            def get_results(self, request: HttpRequest) -> None:
                super().get_results(request)
                for letter in self.result_list:
                    flow_id = letter.step.flow_version.flow_id
                    may = has_right(request, {Right.OPERATE}, flow_id)
                    if may and decision_on(letter) == "open":
                        url = reverse("admin:flows_deadletter_requeue", args=[letter.pk])
                        letter.requeue_url = f"{url}?{request.GET.urlencode()}"

        return LetterList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DeadLetter], search_term: str
    ) -> tuple[QuerySet[DeadLetter], bool]:
        if not search_term.strip():
            return queryset, False
        request.is_search_cut = is_search_cut(queryset, search_term)  # type: ignore[attr-defined]
        request.is_search_blind = is_search_blind(search_term)  # type: ignore[attr-defined]
        return search(queryset, search_term), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if request.method == "POST":
            return super().changelist_view(request, extra_context)
        operates = has_right_somewhere(request, {Right.OPERATE})
        seen: Any = self.get_queryset(request)
        shown = groups_shown(request.GET, seen, operates)
        response = super().changelist_view(request, {**shown, **(extra_context or {})})
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            is_cut = getattr(request, "is_search_cut", False)
            response.context_data["most_searched"] = MOST_SEARCHED if is_cut else 0
            is_blind = getattr(request, "is_search_blind", False)
            response.context_data["is_search_blind"] = is_blind
        return response

    def get_urls(self) -> list[URLPattern]:
        def page(view: Any, route: str, name: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(view), name=f"flows_deadletter_{name}")

        return [
            page(self.requeue, "<int:pk>/requeue/", "requeue"),
            page(self.discard_many, "discard-many/", "discard_many"),
            *super().get_urls(),
        ]

    def seen(self, request: HttpRequest) -> Q | None:
        if sees_every_flow(request):
            return None
        return Q(step__flow_version__flow__in=flows_with(rights_of(request), SEES_EVERY_RUN))

    def flow_of(self, obj: DeadLetter) -> int | None:
        return obj.step.flow_version.flow_id

    def offered(self, obj: DeadLetter) -> tuple[str, ...]:
        return ("discard", "reprocess") if decision_on(obj) == "open" else ()

    @admin.display(description="step")
    def at(self, letter: DeadLetter) -> SafeString:
        version = letter.step.flow_version
        deleted = " (deleted)" if version.flow is None else ""
        where = (letter.step.name, version.flow_name, deleted, letter.step.queue_name)
        return format_html(
            '<span class="whitespace-nowrap">{}</span><br><small>{}{}, queue {}</small>', *where
        )

    @admin.display(description="")
    def again(self, letter: Any) -> str:
        """Return the button of a row; it posts the list's form to an address of its own."""
        if not hasattr(letter, "requeue_url"):
            return ""
        return format_html(
            '<button type="submit" class="letters-again" formaction="{}" formmethod="post"'
            ' aria-label="Reprocess dead letter {}">Reprocess</button>',
            letter.requeue_url,
            letter.pk,
        )

    @display(description="reason", label=REASON_LABELS)
    def reason_label(self, letter: DeadLetter) -> str:
        return letter.reason

    @admin.display(description="died", ordering="dead_at")
    def died(self, letter: DeadLetter) -> str:
        return shown_time(letter.dead_at)

    @display(description="state", label=STATE_LABELS)
    def state_label(self, letter: DeadLetter) -> str:
        return decision_on(letter)

    @admin.display(description="error")
    def short_error(self, letter: DeadLetter) -> str:
        return first_line(letter.error)

    # --- the page ------------------------------------------------------------------------------

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context |= {"title": "Dead letter", **self._page(request, context["original"])}
        return super().render_change_form(request, context, *args, **kwargs)

    def _page(self, request: HttpRequest, letter: DeadLetter) -> dict[str, Any]:
        step, version = letter.step, letter.step.flow_version
        script = step.script_version.script
        body, size = beginning_of(letter, "body")
        like = {"flow": version.flow_name, "step": step.name, "error": letter.error_class}
        return {
            "letter": letter,
            "first_line": naming_line(letter.error),
            "state": decision_on(letter),
            "state_label": STATE_LABELS[decision_on(letter)],
            "reason_label": REASON_LABELS.get(letter.reason, ""),
            "run_url": page_of(letter.run),
            "flow_url": version.flow and may_view(request, Flow) and page_of(version.flow),
            "queue_url": step.queue and may_view(request, Queue) and page_of(step.queue),
            "script_url": may_view(request, ScriptVersion, step.script_version)
            and page_of(step.script_version),
            "trial_url": self._trial_url(request, letter, script),
            "like_url": letter.error_class and list_of(DeadLetter, **like, state="open"),
            "code_url": letter.code and list_of(DeadLetter, code=letter.code, state="open"),
            "details": letter.details and indented(letter.details),
            "reprocessed": shown_time_by(letter.reprocessed_at, letter.reprocessed_by),
            "discarded": shown_time_by(letter.discarded_at, letter.discarded_by),
            "body": body,
            "body_size": size,
            "body_url": whole_url(letter, "body"),
        }

    def _trial_url(self, request: HttpRequest, letter: DeadLetter, script: Script | None) -> str:
        """Return where the script is tried on the message, "" for those who may not."""
        scripts = site.get_model_admin(Script)
        if script is None or not scripts.has_change_permission(request, script):
            return ""
        return f"{page_of(script)}?sample={letter.pk}"

    # --- actions ---------------------------------------------------------------------------

    def get_actions(self, request: HttpRequest) -> Any:
        """Offer none on a list of letters that were decided on: there is nothing to do to them."""
        is_decided = request.GET.get("state") in {"reprocessed", "discarded"}
        return {} if is_decided else super().get_actions(request)

    @admin.action(description="Reprocess the selected dead letters …", permissions=["operate"])
    def reprocess_selected(
        self, request: HttpRequest, letters: QuerySet[DeadLetter]
    ) -> HttpResponse:
        """Lead to the page for many, which shows the count and asks."""
        if request.POST.get("select_across") == "1":
            return redirect(many_url(request.GET))
        return redirect(f"{reverse('admin:flows_reprocessing_begin')}?ids={_ids(letters)}")

    @admin.action(description="Discard the selected dead letters …", permissions=["operate"])
    def discard_selected(self, request: HttpRequest, letters: QuerySet[DeadLetter]) -> HttpResponse:
        return redirect(f"{reverse('admin:flows_deadletter_discard_many')}?ids={_ids(letters)}")

    def discard_many(self, request: HttpRequest) -> HttpResponse:
        """Show how many dead letters would be discarded, and discard them after a yes."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        given = request.POST.get("ids") or request.GET.get("ids", "")
        ids = ids_in(given.split(",")[:MOST_IDS])
        letters = self.get_queryset(request).filter(pk__in=ids).select_related(OF_FLOW)
        letters = letters.defer("body", "details")
        operated = self.permitted(request, Right.OPERATE, letters.order_by("pk"))
        if request.method == "POST":
            reason = request.POST.get("reason", "").replace("\0", "")[:LONGEST_REASON]
            self._discard_all(request, operated, reason)
            return redirect(list_of(DeadLetter, state="open"))
        found = DeadLetter.objects.open().filter(pk__in=[letter.pk for letter in operated])
        context = {
            **self.admin_site.each_context(request),
            "title": "Discard dead letters",
            "opts": self.opts,
            "count": found.count(),
            "left_out": len(ids) - len(operated),
            "most": len(ids) == MOST_IDS and MOST_IDS,
            "steps": count_by_step(found),
            "ids": ",".join(str(letter.pk) for letter in operated),
            "back_url": list_of(DeadLetter),
        }
        return TemplateResponse(request, "admin/flows/deadletter/discard_many.html", context)

    def _discard_all(self, request: HttpRequest, letters: list[DeadLetter], reason: str) -> None:
        """Discard each, the oldest first, and show the results as messages."""
        done = skipped = 0
        refused: list[str] = []
        setattr(request, STORES_ROW_BY_ROW, True)
        for letter in letters:
            try:
                engine.discard(letter, user=request.user, reason=reason)
                done += 1
            except AlreadyReprocessed:
                skipped += 1
            except FlowError as error:
                refused.append(f"{letter}: {error}")
        if done:
            self.message_user(request, f"Discarded: {done}.", messages.SUCCESS)
        if skipped:
            note = f"Skipped, because they were reprocessed or discarded before: {skipped}."
            self.message_user(request, note, messages.INFO)
        if refused:
            note = f"Not discarded: {len(refused)}. The first: {refused[0]}"
            self.message_user(request, note, messages.ERROR)

    def requeue(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Reprocess the letter of a row as it is, with the newest version of its script."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        letter = self.get_object(request, str(pk))
        if letter is None or not self.has_operate_permission(request, pk):
            raise PermissionDenied
        newest = has_newer_script(letter)
        try:
            run = engine.reprocess(letter, user=request.user, newest_script=newest)
            note = 'Reprocessed: <a class="underline" href="{}">its run</a> goes on at {}{}.'
            version = " with the newest script" if newest else ""
            done = format_html(note, page_of(run), letter.step.name, version)
            self.message_user(request, done, messages.SUCCESS)
        except AlreadyReprocessed:
            self._report_decision(request, letter)
        except FlowError as error:
            self.message_user(request, str(error), messages.ERROR)
        return redirect(f"{list_of(DeadLetter)}?{request.GET.urlencode()}")

    @asking(
        dialog(
            "Discard the dead letter {obj}?",
            "It cannot be reprocessed afterwards, and its run stays failed. A run with another"
            " branch that was reprocessed goes on without this one.",
            "Discard",
            "Keep the dead letter",
            asks_reason=True,
            is_danger=True,
        ),
        description="Discard",
        icon="delete",
        permissions=["operate"],
        variant=ActionVariant.DANGER,
    )
    def discard(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        letter = get_object_or_404(DeadLetter.objects.unread(), pk=object_id)
        try:
            reason = form.cleaned_data.get("reason", "")
            run = engine.discard(letter, user=request.user, reason=reason)
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
        try:
            return redirect(many_url(request.GET))
        except IncorrectLookupParameters:
            # The list tells what cannot be read.
            return redirect(f"{list_of(DeadLetter)}?{request.GET.urlencode()}")

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
        choice = form.cleaned_data.get("script") if form.is_bound else form.fields["script"].initial
        version = version_chosen(letter, choice or OWN)
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
            "schema": version.input_schema,
            "takes": version,
            "faults": form.faults,
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
                reason=form.cleaned_data["reason"],
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
    if step := present_step(letter):
        choices.append((NEWEST, f"the newest: {step.script.current_version}"))
    return choices


def has_newer_script(letter: DeadLetter) -> bool:
    """Say whether the script of the step was saved anew since the message died."""
    step = present_step(letter)
    return step is not None and step.script.current_version.pk != letter.step.script_version_id


def present_step(letter: DeadLetter) -> Step | None:
    """Return the step as the flow has it now."""
    present = Step.objects.filter(flow=letter.step.flow_version.flow_id, name=letter.step.name)
    return present.select_related("script").first()


def version_chosen(letter: DeadLetter, choice: str) -> ScriptVersion:
    """Return the version of the script that the message would go on with."""
    step = present_step(letter) if choice == NEWEST else None
    return step.script.current_version if step else letter.step.script_version


def _ids(letters: QuerySet[DeadLetter]) -> str:
    return ",".join(map(str, letters.order_by("pk").values_list("pk", flat=True)[:MOST_IDS]))


def payload_text(letter: DeadLetter) -> str:
    payload = payload_of(letter.body)
    return letter.body if payload is None else pretty_json(payload)


def _plain(text: str) -> str:
    """Return the text with the line ends that it had before the browser changed them."""
    return text.replace("\r\n", "\n").strip()

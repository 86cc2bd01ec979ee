"""Reprocessing many dead letters: the form that begins it and the page of its progress."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from flows.access.rights import seen_reprocessings
from flows.admin.by_role import (
    ByRole,
    has_right_somewhere,
    rights_of,
)
from flows.admin.display import first_line, level, list_of, page_of, shown_time
from flows.admin.reprocessing_form import (
    ReprocessingForm,
    ScriptChoice,
    confirmation_of,
)
from flows.models import DeadLetter, ReprocessedLetter, Reprocessing, Right
from flows.tasks import reprocessing
from flows.tasks.reprocessing import SAMPLE
from scripts.admin.base import ReadOnlyAdmin
from scripts.admin.dialogs import DetailActions, asking, dialog, leave_dialog
from scripts.admin.site import register

State = Reprocessing.State
STATE_LABELS = {
    State.RUNNING.value: "primary",
    State.STOPPED.value: "warning",
    State.FINISHED.value: "success",
}
# Those that failed again which the page of a reprocessing shows.
MOST_FAILED = 20
# The labels of a filter's fields, in the order in which the page shows them.
WORDS = {
    "flow_name": "flow",
    "step": "step",
    "queue": "queue",
    "script": "script",
    "reason": "reason",
    "error_class": "error",
    "code": "code",
    "text": "text",
    "dead_after": "dead after",
    "dead_before": "dead before",
}


@register(Reprocessing)
class ReprocessingAdmin(DetailActions, ByRole, ReadOnlyAdmin):
    class Media:
        css: ClassVar[Any] = {"all": ["flows/letters.css"]}

    opened_by = frozenset({Right.OPERATE})
    change_form_template = "admin/flows/reprocessing/change_form.html"
    list_display = ("begun", "which", "state_label", "progress", "failed_anew", "note", "user")
    list_select_related = ("user",)
    actions_list: Any = ("begin",)
    actions_detail = ("stop", "go_on")

    def seen(self, request: HttpRequest) -> Q | None:
        return seen_reprocessings(request.user, rights_of(request))

    def has_operate_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        if object_id is not None and self.get_object(request, str(object_id)) is None:
            return request.user.is_superuser
        return has_right_somewhere(request, {Right.OPERATE})

    def offered(self, obj: Reprocessing) -> tuple[str, ...]:
        if obj.state == State.RUNNING:
            return ("stop",)
        return ("go_on",) if obj.state == State.STOPPED else ()

    def get_urls(self) -> list[URLPattern]:
        live = self.admin_site.admin_view(self.live)
        route = path("<int:pk>/live/", live, name="flows_reprocessing_live")
        return [route, *super().get_urls()]

    def live(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Return the part of the page that follows the reprocessing."""
        found = self.get_object(request, str(pk))
        if found is None:
            raise Http404
        page = self._page(found)
        return TemplateResponse(request, "admin/flows/reprocessing/live.html", page)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context |= {"title": "Reprocessing", **self._page(context["original"])}
        return super().render_change_form(request, context, *args, **kwargs)

    def _page(self, found: Reprocessing) -> dict[str, Any]:
        failed = _failed_again(found)
        dealt_with = found.reprocessed + found.refused
        return {
            "found": found,
            "state_label": STATE_LABELS[found.state],
            "has_ended": found.finished_at is not None,
            "live_url": reverse("admin:flows_reprocessing_live", args=[found.pk]),
            "which": self.which(found),
            "rate": self.rate(found),
            "percent": min(100, 100 * dealt_with // found.matched) if found.matched else 100,
            "parts": _parts(found),
            "failed": failed,
            "more_failed": max(found.failed_again - len(failed), 0),
        }

    @action(
        description="Reprocess many",
        icon="replay",
        permissions=["operate"],
        variant=ActionVariant.PRIMARY,
    )
    def begin(self, request: HttpRequest) -> HttpResponse:
        is_sent = request.method == "POST"
        given = request.POST if is_sent else _defaults() | request.GET.dict()
        form = ReprocessingForm(given, request.user)
        is_valid = form.is_valid()
        newer = form.newer_scripts() if form.has_filter else []
        if newer and not is_sent and "script" not in request.GET:
            form = ReprocessingForm(given | {"script": ScriptChoice.NEWEST}, request.user)
            is_valid = form.is_valid()
        matched = None
        if is_valid:
            begins = is_sent and "count" not in request.POST and form.is_confirmed
            matched = form.reprocess(request.user, dry_run=not begins)
        if matched and matched.reprocessing:
            note = f"Dead letters that are being reprocessed: {matched.matched:,}."
            self.message_user(request, note, messages.SUCCESS)
            return redirect(page_of(matched.reprocessing))
        context = {
            **self.admin_site.each_context(request),
            "title": "Reprocess many",
            "opts": self.opts,
            "form": form,
            "matched": matched,
            "newer_scripts": newer,
            "is_everything": form.has_filter and not form.filter.document(),
            "which": _in_words(form.filter.document()) if form.has_filter else "",
            "confirmed": confirmation_of(form.filter) if is_valid else "",
            "back_url": list_of(DeadLetter),
        }
        return TemplateResponse(request, "admin/flows/reprocessing/begin.html", context)

    @asking(
        dialog(
            "Stop reprocessing? {obj.left:,} dead letters are left.",
            "No further dead letter is reprocessed. Reprocessed messages go on.",
            "Stop",
            asks_reason=True,
            is_danger=True,
        ),
        description="Stop",
        icon="stop_circle",
        permissions=["operate"],
        variant=ActionVariant.DANGER,
    )
    def stop(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        found = get_object_or_404(Reprocessing, pk=object_id)
        reason = form.cleaned_data.get("reason", "")
        reprocessing.stop(found, user=request.user, reason=reason)
        self.message_user(request, f"{found.get_state_display()}.", messages.INFO)
        return leave_dialog(page_of(found))

    @asking(
        dialog(
            "Go on reprocessing? {obj.left:,} dead letters are left.",
            "The dead letters that are left are reprocessed. It stops itself again after as many"
            " failures as before.",
            "Go on",
            asks_reason=True,
        ),
        description="Go on",
        icon="play_arrow",
        permissions=["operate"],
        variant=ActionVariant.PRIMARY,
    )
    def go_on(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        found = get_object_or_404(Reprocessing, pk=object_id)
        reason = form.cleaned_data.get("reason", "")
        reprocessing.go_on(found, user=request.user, reason=reason)
        self.message_user(request, f"{found.get_state_display()}.", messages.INFO)
        return leave_dialog(page_of(found))

    @admin.display(description="begun", ordering="id")
    def begun(self, found: Reprocessing) -> str:
        return shown_time(found.created_at)

    @admin.display(description="dead letters")
    def which(self, found: Reprocessing) -> str:
        return _in_words(found.filter)

    @display(description="state", label=STATE_LABELS)
    def state_label(self, found: Reprocessing) -> str:
        return found.state

    @admin.display(description="reprocessed")
    def progress(self, found: Reprocessing) -> str:
        return level(found.reprocessed, found.matched, warns=False)

    @admin.display(description="failed again", ordering="failed_again")
    def failed_anew(self, found: Reprocessing) -> str:
        return f"{found.failed_again:,}"

    @admin.display(description="rate")
    def rate(self, found: Reprocessing) -> str:
        return f"{found.rate_per_second:g} a second" if found.rate_per_second else "-"


def _defaults() -> dict[str, Any]:
    return {"sample": str(SAMPLE), "script": ScriptChoice.OWN.value}


def _in_words(document: dict[str, Any]) -> str:
    """Return a filter as the page shows it."""
    shown = [f"{WORDS[name]} {document[name]}" for name in WORDS if name in document]
    if ids := document.get("ids"):
        shown.append(f"{len(ids)} chosen")
    return ", ".join(shown) or "all"


def _parts(found: Reprocessing) -> list[dict[str, Any]]:
    """Return how many of the letters ended in what, and how wide that is in the bar."""
    counts = (
        ("completed", "Completed", found.completed),
        ("failed", "Failed again", found.failed_again),
        ("cancelled", "Cancelled", found.cancelled),
        ("running", "Still running", found.outstanding),
        ("refused", "Refused", found.refused),
        ("left", "Left", found.left),
    )
    whole = max(found.matched, sum(count for *_, count in counts), 1)
    return [
        {"key": key, "name": name, "count": count, "width": f"{100 * count / whole:.2f}"}
        for key, name, count in counts
    ]


def _failed_again(found: Reprocessing) -> list[dict[str, Any]]:
    """Return the last ones that failed again, each with its newest dead letter."""
    failed = found.letters.filter(outcome=ReprocessedLetter.Result.FAILED).order_by("-id")
    letters = [each.dead_letter for each in failed.select_related("dead_letter")[:MOST_FAILED]]
    of_runs = DeadLetter.objects.filter(run__in={each.run_id for each in letters})
    newest = {
        each.run_id: each for each in of_runs.defer("body").select_related("step").order_by("pk")
    }
    return [
        {
            "letter": newest[each.run_id],
            "url": page_of(newest[each.run_id]),
            "error": first_line(newest[each.run_id].error),
        }
        for each in letters
    ]

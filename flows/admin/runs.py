"""Runs: the list, the page of one with its attempts, cancelling, and the check of conservation."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q, QuerySet
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import action
from unfold.enums import ActionVariant

from flows import engine
from flows.access.rights import SEES_EVERY_RUN, may_cancel, seen_runs
from flows.admin.by_role import (
    ByRole,
    has_right,
    has_right_somewhere,
    may_view,
    rights_of,
    sees_every_flow,
)
from flows.admin.conservation import last_check, tables
from flows.admin.display import (
    first_line,
    list_of,
    page_of,
    rounded,
)
from flows.admin.long_texts import LongTexts, shown_text
from flows.admin.run_again import RunAgain
from flows.admin.run_bodies import address_of_body, body_response, like_url
from flows.admin.run_erasing import RunErasing
from flows.admin.run_labels import RUN_LABELS, words_of
from flows.admin.run_list import RunList
from flows.admin.run_page import state_in_words, steps_shown
from flows.admin.webhook_deliveries import deliveries_of
from flows.models import BranchEnd, Message, Queue, Right, Run, RunDeadline
from flows.models.keep import why_not_kept
from flows.monitoring.family import MOST_CHILDREN, children_of, parent_of, repeating_runs
from flows.monitoring.run_story import (
    is_start_kept,
    run_story,
    start_envelope,
)
from flows.monitoring.wait_reason import why_run
from flows.tasks.conservation import begin_check
from scripts.admin.base import ReadOnlyAdmin
from scripts.admin.bulk import bulk_action
from scripts.admin.dialogs import DetailActions, asking, dialog, leave_dialog
from scripts.admin.site import register


def to_cancel(
    model_admin: Any, request: HttpRequest, runs: list[Run]
) -> tuple[list[Run], list[str]]:
    """Return those that the user may cancel and that go on, and notes about the others."""
    allowed = [run for run in runs if may_cancel(request.user, run)]
    going_on = [run for run in allowed if not has_ended(run)]
    notes = []
    if left_out := len(runs) - len(allowed):
        notes.append(f"Left out, because you may not cancel them: {left_out}.")
    if ended := len(allowed) - len(going_on):
        notes.append(f"Left out, because they have ended: {ended}.")
    return going_on, notes


@register(Run)
class RunAdmin(DetailActions, ByRole, RunAgain, RunErasing, RunList, LongTexts, ReadOnlyAdmin):
    """For millions of rows: it counts no rows, and every order is that of the key."""

    class Media:
        css: ClassVar[Any] = {"all": ["flows/runs.css"]}
        js = ("flows/copy.js", "flows/json.js")

    long_texts = ("result",)
    # What waited is for those who see payloads: the page has it as the input of its step.
    unlisted_texts = ("cancelled_input",)
    change_form_template = "admin/flows/run/change_form.html"
    # Their number is not counted, so there is no "Select all 12 runs".
    list_disable_select_all = True
    actions: Any = ("cancel_selected", "start_selected_again")
    actions_list: Any = ("conservation",)
    actions_detail = ("cancel", "bypass_pause", "start_again", "erase")

    def seen(self, request: HttpRequest) -> Q | None:
        return seen_runs(request.user, rights_of(request))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return super().get_queryset(request).filter(self.before(request))

    def flow_of(self, obj: Run) -> int | None:
        return obj.flow_version.flow_id

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Run | None:
        try:
            run = self.get_queryset(request).filter(pk=object_id)
            return run.select_related("flow_version__flow", "started_by", "cancelled_by").first()
        except ValidationError:
            return None

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context |= {"title": "Run", **self._page(request, context["original"])}
        return super().render_change_form(request, context, *args, **kwargs)

    def _page(self, request: HttpRequest, run: Run) -> dict[str, Any]:
        """Return what the part of the page shows that follows the run."""
        sees_payloads = self.sees_payloads(request, run)
        story = run_story(run)
        word = words_of([run])[run.pk]
        is_branched = run.branches > 1 or any(step.is_branched for step in story.steps)
        kept = sees_payloads and is_start_kept(story)
        queue = next((message.queue for message in story.messages if message.queue), None)
        letters = [letter for step in story.steps for letter in step.letters]
        return {
            "run": run,
            "run_goes_on": bool(story.messages) or run.status not in Run.FINISHED,
            "run_live_url": reverse("admin:flows_run_live", args=[run.pk]),
            "run_label": RUN_LABELS[word],
            "run_label_text": word,
            "run_state": state_in_words(story),
            "run_duration": self.duration(run),
            "run_waited": rounded(story.waited),
            "run_ran": rounded(story.ran),
            "run_end": story.end,
            "run_is_cut": story.is_cut,
            "run_flow": self.flow(run),
            "run_labels": [
                {"text": str(label), "url": list_of(Run, label=str(label))}
                for label in run.labels.order_by("key")
            ],
            "run_deadline": RunDeadline.objects.filter(pk=run.pk).first(),
            "run_first_line": first_line(run.error),
            "run_result": run.status == Run.Status.COMPLETED and shown_text(run, "result"),
            "run_steps": steps_shown(request, story, sees_payloads, self.may_start(request, run)),
            "run_repeats": run.repeats and reverse("admin:flows_run_change", args=[run.repeats]),
            **self._family(request, run),
            "run_waits_because": None if run.status in Run.FINISHED else why_run(run),
            "run_queue_url": queue and may_view(request, Queue) and page_of(queue),
            "run_bypasses_pause": any(message.bypasses_pause for message in story.messages),
            "run_branch_ends": is_branched and BranchEnd.objects.filter(run=run.pk).count(),
            "run_dead_letters": [
                {"letter": letter, "url": page_of(letter)} for letter in letters if sees_payloads
            ],
            "run_webhooks": deliveries_of(run),
            "run_sees_payloads": sees_payloads,
            "run_start_url": kept and address_of_body(run, "start", "whole"),
            "run_again_url": self._again_url(request, run),
            "run_like_url": kept and self.may_start(request, run) and like_url(run),
            "run_not_kept": why_not_kept(run),
        }

    def _again_url(self, request: HttpRequest, run: Run) -> str:
        """Return where the payload is edited for a new run, "" where there can be none."""
        is_over = run.status in Run.FINISHED and not run.erased_at
        if not (is_over and self.may_start(request, run) and self.sees_payloads(request, run)):
            return ""
        return reverse("admin:flows_run_again", args=[run.pk])

    def _family(self, request: HttpRequest, run: Run) -> dict[str, Any]:
        """Return the run whose script started this one, those that its own scripts started, and
        those that repeat it.
        """
        seen = Run.objects.filter(self.seen(request) or Q())
        found, repeating = children_of(run, seen), repeating_runs(run, seen)
        return {
            "run_repeated_by": [_relative(each) for each in repeating[:MOST_CHILDREN]],
            "run_has_more_repeats": len(repeating) > MOST_CHILDREN,
            "run_parent": (parent := parent_of(run, seen)) and _relative(parent),
            "run_children": [_relative(each) for each in found[:MOST_CHILDREN]],
            "run_has_more_children": len(found) > MOST_CHILDREN,
        }

    def sees_payloads(self, request: HttpRequest, run: Run) -> bool:
        return has_right(request, SEES_EVERY_RUN, self.flow_of(run))

    def get_urls(self) -> list[URLPattern]:
        def page(view: Any, route: str, name: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(view), name=f"flows_run_{name}")

        return [
            page(self.live, "<uuid:run_id>/live/", "live"),
            page(self.body, "<uuid:run_id>/body/<slug:kind>/<slug:row>/", "body"),
            *self.again_urls(),
            *super().get_urls(),
        ]

    def live(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Return the part of a run's page that follows the run."""
        run = self.seen_run(request, run_id)
        return TemplateResponse(request, "admin/flows/run/live.html", self._page(request, run))

    def body(self, request: HttpRequest, run_id: UUID, kind: str, row: str) -> HttpResponse:
        """Return the beginning of a payload as text, or all of it as a file."""
        run = self.seen_run(request, run_id)
        if not self.sees_payloads(request, run) and kind != "result":
            raise PermissionDenied
        return body_response(run, kind, row, whole="whole" in request.GET)

    def seen_run(self, request: HttpRequest, run_id: UUID) -> Run:
        """Return the run; there is none for a user who may not see it."""
        run = self.get_object(request, str(run_id))
        if run is None:
            raise Http404
        return run

    def has_cancel_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        if object_id is None:
            return has_right_somewhere(request, {Right.OPERATE, Right.START})
        if request.user.is_superuser:
            return True
        run = self.get_object(request, str(object_id))
        return run is not None and may_cancel(request.user, run)

    def offered(self, obj: Run) -> tuple[str, ...]:
        is_over = obj.status in Run.FINISHED and obj.flow_version.flow
        again = ("start_again",) if is_over and start_envelope(obj) else ()
        if has_ended(obj):
            return again if obj.erased_at else (*again, "erase")
        pause = ("bypass_pause",) if may_bypass_pause(obj) else ()
        return ("cancel", *pause, *again)

    @bulk_action(
        "Cancel",
        "Their waiting messages are removed at once, running scripts are stopped within 2 s, and"
        " their dead letters are discarded.",
        to_cancel,
        permissions=["cancel"],
        asks_reason=True,
        is_danger=True,
    )
    def cancel_selected(self, request: HttpRequest, runs: list[Run], reason: str) -> None:
        cancelled = sum(self._cancel(request, run, reason) for run in runs)
        if cancelled:
            self.message_user(request, f"Cancelled: {cancelled}.", messages.SUCCESS)
        if ended := len(runs) - cancelled:
            note = f"Skipped, because they have ended meanwhile: {ended}."
            self.message_user(request, note, messages.INFO)

    @asking(
        dialog(
            "Cancel the run {obj}?",
            "Its waiting messages are removed at once, a running script is stopped within 2 s, and"
            " its dead letters are discarded.",
            "Cancel the run",
            "Keep it running",
            asks_reason=True,
            is_danger=True,
        ),
        description="Cancel the run",
        icon="cancel",
        permissions=["cancel"],
        variant=ActionVariant.DANGER,
    )
    def cancel(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        run = get_object_or_404(Run.objects.select_related("flow_version"), pk=object_id)
        if self._cancel(request, run, form.cleaned_data.get("reason", "")):
            self.message_user(request, "The run was cancelled.", messages.SUCCESS)
        else:
            self._report_end(request, run)
        return leave_dialog(page_of(run))

    def _cancel(self, request: HttpRequest, run: Run, reason: str = "") -> bool:
        """Cancel the run; return whether this call has ended it."""
        if has_ended(run):
            return False
        engine.cancel(run, user=request.user, reason=reason)
        return run.status == Run.Status.CANCELLED

    @asking(
        dialog(
            "Let the run {obj} bypass the pause?",
            "Its messages are handed out although its queues or its flow are paused, until the run"
            " ends. All other runs stay paused.",
            "Bypass the pause",
            asks_reason=True,
        ),
        description="Bypass the pause",
        icon="fast_forward",
        permissions=["operate"],
    )
    def bypass_pause(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        run = get_object_or_404(Run, pk=object_id)
        if engine.bypass_pause(run, user=request.user, reason=form.cleaned_data.get("reason", "")):
            note = "The run goes on although its queues or its flow are paused."
            self.message_user(request, note, messages.SUCCESS)
        else:
            self._report_end(request, run)
        return leave_dialog(page_of(run))

    def _report_end(self, request: HttpRequest, run: Run) -> None:
        run.refresh_from_db()
        self.message_user(request, f"The run has ended: {run.status}.", messages.INFO)

    def has_conservation_permission(self, request: HttpRequest) -> bool:
        return sees_every_flow(request)

    @action(description="Check conservation", icon="balance", permissions=["conservation"])
    def conservation(self, request: HttpRequest) -> HttpResponse:
        """Show the counters, and compare them with all rows: at once where they are few."""
        last = last_check()["last_check"]
        if request.method == "POST":
            begin_check()
            url = reverse("admin:flows_run_conservation")
            return redirect(f"{url}?after={last.pk if last else 0}")
        after = request.GET.get("after", "")
        context = {
            **self.admin_site.each_context(request),
            "title": "Conservation",
            "opts": self.opts,
            "back_url": list_of(Run),
            "check_url": request.path,
            "live_url": request.get_full_path(),
            "is_under_way": after.isdecimal() and str(last.pk if last else 0) == after,
        }
        if "HX-Request" in request.headers:
            template = "admin/flows/run/last_check.html"
            return TemplateResponse(request, template, {**context, **last_check()})
        template = "admin/flows/run/conservation.html"
        return TemplateResponse(request, template, {**context, **tables()})


def _relative(run: Run) -> dict[str, Any]:
    return {"run": run, "flow": run.flow_version.flow_name, "url": page_of(run)}


def has_ended(run: Run) -> bool:
    """Say whether the run has no message left. A failed run may go on with other branches."""
    if run.status == Run.Status.FAILED:
        return not Message.objects.of_run(run.pk).exists()
    return run.status in Run.FINISHED


def may_bypass_pause(run: Run) -> bool:
    """Say whether a message of the run waits, or will, because its queue or flow is paused."""
    paused = (
        Q(queue__paused=True)
        | Q(queue__step__flow__paused=True)
        | Q(step__queue__paused=True)
        | Q(step__flow_version__flow__paused=True)
    )
    return Message.objects.of_run(run.pk).filter(paused, bypasses_pause=False).exists()

"""Starting runs again: at once with what they got, or from a page that edits the payload."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from flows import engine
from flows.access.rights import rights_on
from flows.admin.by_role import has_right, has_right_somewhere
from flows.admin.display import page_of
from flows.admin.starting import first_step_of, refuse_payload, require_size
from flows.errors import FlowError, InputNotKept, PayloadErased, PayloadInvalid
from flows.models import Right, Run, StepVersion
from flows.run_again import begins_within, may_edit_within, payload_kept, run_again
from scripts.admin.bulk import bulk_action
from scripts.admin.dialogs import asking, dialog, leave_dialog
from scripts.admin.editor import EditorWidget
from scripts.admin.json_fields import pretty_json
from scripts.models import Script

if TYPE_CHECKING:
    from scripts.admin.base import ReadOnlyAdmin as Base
else:
    Base = object


class AgainForm(forms.Form):
    payload = forms.CharField(
        widget=EditorWidget("json", rows=22),
        strip=False,
        label="JSON",
        help_text="As it stands here, the new run gets exactly what this one got.",
    )


def to_start_again(
    model_admin: Any, request: HttpRequest, runs: list[Run]
) -> tuple[list[Run], list[str]]:
    """Return those that have ended and may be started, and notes about the others."""
    allowed = [run for run in runs if model_admin.may_start(request, run)]
    finished = [run for run in allowed if run.status in Run.FINISHED]
    notes = []
    if left_out := len(runs) - len(allowed):
        notes.append(f"Left out, because you may not start their flows: {left_out}.")
    if going_on := len(allowed) - len(finished):
        notes.append(f"Left out, because they have not ended: {going_on}.")
    return finished, notes


def states_of(runs: list[Run]) -> str:
    """Say how many runs are in which state, and what it means to start completed ones again."""
    counts = Counter(run.status for run in runs)
    if not counts[Run.Status.COMPLETED]:
        return ""
    states = ", ".join(f"{count:,} {status}" for status, count in counts.most_common())
    return f"Of these runs: {states}. What a completed one has done is done a second time."


def done_already(run: Run) -> str:
    if run.status != Run.Status.COMPLETED:
        return ""
    return "The run has COMPLETED: what it has done is done a second time."


class RunAgain(Base):
    """The part of the runs' admin that starts them again."""

    def again_urls(self) -> list[URLPattern]:
        def page(route: str, name: str) -> URLPattern:
            return path(route, self.admin_site.admin_view(self.again), name=f"flows_run_{name}")

        return [
            page("<uuid:run_id>/again/", "again"),
            page("<uuid:run_id>/from/<int:position>/", "from_step"),
        ]

    def seen_run(self, request: HttpRequest, run_id: UUID) -> Run:
        raise NotImplementedError

    def sees_payloads(self, request: HttpRequest, run: Run) -> bool:
        raise NotImplementedError

    def may_start(self, request: HttpRequest, run: Run) -> bool:
        flow_id = run.flow_version.flow_id
        return flow_id is not None and has_right(request, {Right.START}, flow_id)

    def has_start_again_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        if object_id is None:
            return has_right_somewhere(request, {Right.START})
        run = self.get_object(request, str(object_id))
        return run is not None and self.may_start(request, run)

    @asking(
        dialog(
            "Start a new run with the payload of {obj}?",
            "It goes through the flow as it is now, from its first step. This run stays as it is.",
            "Start a new run",
            asks_reason=True,
        ),
        done_already,
        description="Start again",
        icon="replay",
        permissions=["start_again"],
    )
    def start_again(self, request: HttpRequest, form: Form, object_id: str) -> HttpResponse:
        run = self.seen_run(request, UUID(object_id))
        try:
            started = _started(request, run, reason=form.cleaned_data.get("reason", ""))
        except FlowError as error:
            self.message_user(request, str(error), messages.ERROR)
            return leave_dialog(page_of(run))
        return leave_dialog(self._page_of_new(request, run, started))

    def bulk_name(self, run: Run) -> str:
        return f"{run} of {run.flow_version.flow_name}, {run.status}"

    @bulk_action(
        "Start again",
        "For each a new run is started with its payload, through the flow as it is now.",
        to_start_again,
        permissions=["start_again"],
        asks_reason=True,
        warn=states_of,
    )
    def start_selected_again(self, request: HttpRequest, runs: list[Run], reason: str) -> None:
        refused: Counter[str] = Counter()
        for run in runs:
            try:
                _started(request, run, reason=reason)
            except FlowError as error:
                refused[str(error)] += 1
        if started := len(runs) - refused.total():
            self.message_user(request, f"Started again: {started}.", messages.SUCCESS)
        for words, count in refused.most_common():
            self.message_user(request, f"Not started: {count}. {words}", messages.ERROR)

    def again(
        self, request: HttpRequest, run_id: UUID, position: int | None = None
    ) -> HttpResponse:
        """Ask with which payload a new run begins, from the start or from a step, and start it."""
        run = self.seen_run(request, run_id)
        step = None
        if position is not None:
            step = get_object_or_404(run.flow_version.steps, position=position)
        if not (self.may_start(request, run) and self.sees_payloads(request, run)):
            raise PermissionDenied
        try:
            return self._again(request, run, step)
        except FlowError as error:
            self.message_user(request, str(error), messages.ERROR)
            return redirect(page_of(run))

    def _again(self, request: HttpRequest, run: Run, step: StepVersion | None) -> HttpResponse:
        if run.erased_at:
            # Neither as it was, nor with another payload: there is nothing to ask.
            raise PayloadErased
        kept, not_kept = _kept(run, step)
        is_editable = not begins_within(step) or may_edit_within(_rights(request, run))
        shown = "{}" if kept is None else pretty_json(kept)
        posted = request.POST if request.method == "POST" else None
        form = AgainForm(posted, initial={"payload": shown}) if is_editable else None
        if form and kept is None:
            form.fields["payload"].help_text = "What the new run gets."
        faults: list[dict[str, str]] = []
        if posted is not None and (form is None or form.is_valid()):
            given = form.cleaned_data["payload"].replace("\r\n", "\n") if form else shown
            payload = None if given.strip() == shown.strip() and kept else given.encode()
            try:
                if payload is not None:
                    require_size(payload)
                started = _started(request, run, step=step, payload=payload)
                return redirect(self._page_of_new(request, run, started))
            except PayloadInvalid as error:
                if form is None:
                    raise
                refuse_payload(form, error, faults)
        context = {
            **self.admin_site.each_context(request),
            **self._place(run, step),
            "opts": self.opts,
            "original": run,
            "verb": "Start a new run",
            "not_kept": not_kept,
            "form": form,
            "faults": faults,
            "text": shown,
            "back_url": page_of(run),
        }
        return TemplateResponse(request, "admin/flows/run/again.html", context)

    def _place(self, run: Run, step: StepVersion | None) -> dict[str, Any]:
        """Return where the new run begins, and what it takes there."""
        beginning = {
            "name": "the beginning",
            "url": reverse("admin:flows_run_again", args=[run.pk]),
            "is_here": step is None,
        }
        steps = run.flow_version.steps.order_by("position")
        places = [
            {
                "name": each.name,
                "url": reverse("admin:flows_run_from_step", args=[run.pk, each.position]),
                "is_here": step is not None and each.pk == step.pk,
            }
            for each in steps
        ]
        title = f"Start a new run at the step {step.name}?" if step else "Start a new run?"
        script = _script_at(run, step)
        return {
            "title": title,
            "card_title": f"What {step.name} gets" if step else "What the new run gets",
            "step": step,
            "places": [beginning, *places],
            "schema": script.input_schema if script else {},
            "takes": str(script) if script else "",
        }

    def _page_of_new(self, request: HttpRequest, run: Run, started: engine.Started) -> str:
        """Say which run was started; return the address of its page."""
        note = f"This run was started with the payload of {run.pk}."
        self.message_user(request, note, messages.SUCCESS)
        return reverse("admin:flows_run_change", args=[started.correlation_id])


def _script_at(run: Run, step: StepVersion | None) -> Script | None:
    """Return the script that gets the payload, as the flow is now."""
    flow = run.flow_version.flow
    if flow is None:
        return None
    named = flow.steps.select_related("script")
    found = named.filter(name=step.name).first() if step else first_step_of(flow)
    return found.script if found else None


def _kept(run: Run, step: StepVersion | None) -> tuple[str | None, str]:
    """Return the payload, or None and why there is none."""
    try:
        return payload_kept(run, step), ""
    except InputNotKept as error:
        return None, str(error)


def _rights(request: HttpRequest, run: Run) -> set[str]:
    return rights_on(request.user, run.flow_version.flow_id)


def _started(request: HttpRequest, run: Run, **options: Any) -> engine.Started:
    return run_again(run, _rights(request, run), user=request.user, **options).started

"""The side panel of a flow's page: a step's script, queue and settings, and new steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models import Model, ProtectedError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from flows.admin.display import page_of
from flows.admin.step_changes import (
    Move,
    StepsChanged,
    add_step,
    move_step,
    order_of,
    remove_step,
    unfinished_runs,
    why_queue_stays,
)
from flows.admin.step_forms import NewStepForm, code_form, queue_form, step_form
from flows.admin.step_rights import StepRights
from flows.models import Flow, Queue, Step
from flows.models.ways import rename_way
from flows.monitoring.impact import Impact, impact_of
from flows.monitoring.refused_starts import in_words, refused_starts
from flows.monitoring.step_cards import cards_of
from flows.store import store
from flows.tasks.upgrading import upgrade_waiting
from scripts.admin.confirmation import CONFIRMED, wants_upgrade
from scripts.admin.conflicts import CONFLICT, OUTCOME, SEEN, ConflictAdmin, last_change
from scripts.admin.dialogs import is_part
from scripts.admin.diff import diff_of_fields
from scripts.admin.site import site
from scripts.admin.trial_page import FIRST_CODE
from scripts.models import Script

if TYPE_CHECKING:
    from unfold.admin import ModelAdmin as Base
else:
    Base = object

# What became of a form, for the script of the page.
SHOWN, SAVED, REFUSED = "shown", "saved", "refused"
TAKEN = "Another user has taken one of these names meanwhile. Save again to see which."


@dataclass(frozen=True, slots=True)
class Pane:
    """A part of the panel: one object with its form.

    `form` makes the form of an object, and takes what was sent.
    """

    name: str
    title: str
    obj: Any
    conflicts: ConflictAdmin
    form: Callable[[Any, Any], Any]
    may_change: bool


class StepPanelAdmin(Base):
    """Adds the cards of the steps and the side panel to the admin of flows."""

    def get_urls(self) -> list[URLPattern]:
        def view(address: str, view: Any, name: str) -> URLPattern:
            name = f"flows_flow_{name}"
            return path(f"<int:flow_id>/{address}", self.admin_site.admin_view(view), name=name)

        return [
            view("live/steps/", self.live_steps_view, "live_steps"),
            view("steps/add/", self.add_step_view, "add_step"),
            view("steps/move/", self.move_step_view, "move_step"),
            view("steps/<int:step_id>/", self.step_view, "step"),
            view("steps/<int:step_id>/remove/", self.remove_step_view, "remove_step"),
            view("steps/<int:step_id>/<str:part>/", self.save_step_view, "save_step"),
            *super().get_urls(),
        ]

    def steps_context(
        self, request: HttpRequest, flow: Flow, *, anew: bool = True
    ) -> dict[str, Any]:
        """Return what the cards of the flow's steps are made from."""
        rights = StepRights(request, flow)
        cards = cards_of(flow, with_figures=rights.may_see_figures, anew=anew)
        return {
            "flow": flow,
            "cards": cards,
            "rights": rights,
            "scripts_seen": {
                card.step.script_id for card in cards if rights.may_see_script(card.step.script)
            },
            "order": order_of(card.step for card in cards),
            "refused": rights.may_see_figures and refused_last_hour(flow),
        }

    @method_decorator(require_GET)
    def live_steps_view(self, request: HttpRequest, flow_id: int) -> HttpResponse:
        flow = self._flow_to_view(request, flow_id)
        context = self.steps_context(request, flow, anew=False)
        return TemplateResponse(request, "admin/flows/flow/steps.html", context)

    @method_decorator(require_GET)
    def step_view(self, request: HttpRequest, flow_id: int, step_id: int) -> HttpResponse:
        step = self._step(request, flow_id, step_id)
        panes = [_shown(pane) for pane in panes_of(request, step)]
        return self._panel(request, step.flow, "step", step.name, {"step": step, "panes": panes})

    @method_decorator(require_POST)
    def save_step_view(
        self, request: HttpRequest, flow_id: int, step_id: int, part: str
    ) -> HttpResponse:
        step = self._step(request, flow_id, step_id)
        pane = next((each for each in panes_of(request, step) if each.name == part), None)
        if pane is None:
            raise Http404
        if not pane.may_change:
            raise PermissionDenied
        shown, outcome = save(request, pane)
        if outcome == SAVED:
            if pane.name != "queue":
                step.flow.make_version(author=request.user)
            if not is_part(request):
                self.message_user(request, f"{pane.title} saved.", messages.SUCCESS)
                return redirect(page_of(step.flow))
        context = {"step": step, "panes": [shown], "pane": shown}
        if not is_part(request):
            return self._panel(request, step.flow, "step", step.name, context, outcome)
        context |= {"flow": step.flow, "rights": StepRights(request, step.flow)}
        response = TemplateResponse(
            request, "admin/flows/flow/panel_pane.html", context, headers={OUTCOME: outcome}
        )
        said = "Not saved yet." if shown.get("impact") else "Not saved."
        said = f"{pane.title} of {step.name} saved." if outcome == SAVED else said
        return announce(response, said, changed=outcome == SAVED)

    @method_decorator(require_http_methods(["GET", "POST"]))
    def add_step_view(self, request: HttpRequest, flow_id: int) -> HttpResponse:
        flow = self._flow_to_view(request, flow_id)
        rights = StepRights(request, flow)
        if not rights.may_add:
            raise PermissionDenied
        form = NewStepForm(request, flow, request.POST or None)
        after = _number(request.POST.get("after") or request.GET.get("after"))
        if request.method == "POST" and form.is_valid():
            try:
                step = add_step(form, after)
            except IntegrityError:
                form.add_error(None, TAKEN)
            else:
                said = f"The step {step.name} was added."
                return self._done(request, flow, said, focus=step)
        context = {
            "form": form,
            "after": "" if after is None else after,
            "first_code": FIRST_CODE,
            "impact": impact_of(flow, {"steps"}),
            "rights": rights,
        }
        outcome = REFUSED if form.is_bound else SHOWN
        return self._panel(request, flow, "new", "New step", context, outcome)

    @method_decorator(require_POST)
    def move_step_view(self, request: HttpRequest, flow_id: int) -> HttpResponse:
        flow = self._flow_to_view(request, flow_id)
        if not StepRights(request, flow).may_change:
            raise PermissionDenied
        step_id, _, place = request.POST.get("move", "").partition(":")
        step = get_object_or_404(Step, flow=flow, pk=_number(step_id))
        try:
            move, impact = move_step(
                request,
                flow,
                step,
                _number(place) or 0,
                request.POST.get("order", ""),
                is_confirmed=CONFIRMED in request.POST,
            )
        except StepsChanged:
            said = "Not moved: another user has changed the steps meanwhile. This is how they are."
            return self._answer(request, step, said, outcome=CONFLICT)
        if impact:
            return self._ask_to_move(request, flow, move, impact)
        said = f"{step.name} is step {move.to_place + 1} now."
        return self._answer(request, step, said, move)

    def _ask_to_move(
        self, request: HttpRequest, flow: Flow, move: Move, impact: Impact
    ) -> HttpResponse:
        """Ask in the panel; the cards are shown at their old places meanwhile."""
        context = {"move": move, "impact": impact, "order": order_of(move.old)}
        response = self._panel(request, flow, "move", f"Move {move.step.name}?", context)
        if is_part(request):
            response["HX-Retarget"] = "#flow-panel-content"
            response["HX-Reswap"] = "innerHTML"
            announce(response, "Not moved yet.", changed=True)
        return response

    @method_decorator(require_http_methods(["GET", "POST"]))
    def remove_step_view(self, request: HttpRequest, flow_id: int, step_id: int) -> HttpResponse:
        step = self._step(request, flow_id, step_id)
        flow = step.flow
        if not StepRights(request, flow).may_remove:
            raise PermissionDenied
        with_queue = bool(request.POST.get("with_queue"))
        stays = why_queue_stays(step)
        may_delete = StepRights(request, flow).may_delete_queue(step.queue)
        if request.method == "POST" and not (with_queue and (stays or not may_delete)):
            name = step.name
            try:
                remove_step(request, step, with_queue=with_queue)
            except ProtectedError:
                stays = "It was used a moment ago: try again."
            else:
                return self._done(request, flow, f"The step {name} was removed.")
        context = {
            "step": step,
            "queue_stays": stays,
            "may_delete_queue": may_delete,
            "runs": unfinished_runs(flow),
            "refused": with_queue,
        }
        outcome = REFUSED if with_queue else SHOWN
        return self._panel(request, flow, "remove", f"Remove {step.name}?", context, outcome)

    # --- answers --------------------------------------------------------------------------

    def _flow_to_view(self, request: HttpRequest, flow_id: int) -> Flow:
        flow = Flow.objects.filter(pk=flow_id).select_related("paused_by").first()
        if flow is None:
            raise Http404
        if not self.has_view_permission(request, flow):
            raise PermissionDenied
        return flow

    def _step(self, request: HttpRequest, flow_id: int, step_id: int) -> Step:
        flow = self._flow_to_view(request, flow_id)
        steps = Step.objects.filter(flow=flow).select_related("script", "queue__state")
        step = get_object_or_404(steps, pk=step_id)
        step.flow = flow
        return step

    def _panel(
        self,
        request: HttpRequest,
        flow: Flow,
        part: str,
        title: str,
        context: dict[str, Any],
        outcome: str = SHOWN,
    ) -> HttpResponse:
        """Answer with the panel, as a page of its own where htmx has not asked."""
        context = {"flow": flow, "rights": StepRights(request, flow), "title": title, **context}
        context["part"] = f"admin/flows/flow/panel_{part}.html"
        if is_part(request):
            return TemplateResponse(request, context["part"], context, headers={OUTCOME: outcome})
        context |= {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": flow,
            "flow_url": page_of(flow),
        }
        return TemplateResponse(
            request, "admin/flows/flow/panel_page.html", context, headers={OUTCOME: outcome}
        )

    def _answer(
        self,
        request: HttpRequest,
        step: Step,
        said: str,
        move: Move | None = None,
        outcome: str = SAVED,
    ) -> HttpResponse:
        """Say what became of a move, with the way back."""
        if not is_part(request):
            level = messages.SUCCESS if outcome == SAVED else messages.ERROR
            self.message_user(request, said, level)
            return redirect(page_of(step.flow))
        order = order_of(move.new) if move else ""
        context = {"flow": step.flow, "said": said, "move": move, "order": order}
        response = TemplateResponse(
            request, "admin/flows/flow/moved.html", context, headers={OUTCOME: outcome}
        )
        return announce(response, said, changed=True, close=f"step-{step.pk}-menu")

    def _done(
        self, request: HttpRequest, flow: Flow, said: str, focus: Step | None = None
    ) -> HttpResponse:
        """Close the panel."""
        if not is_part(request):
            self.message_user(request, said, messages.SUCCESS)
            return redirect(page_of(flow))
        target = f"step-{focus.pk}" if focus else "flow-add"
        return announce(HttpResponse(status=204), said, changed=True, close=target)


def refused_last_hour(flow: Flow) -> str:
    since = store().database.now() - timedelta(hours=1)
    return in_words(refused_starts(since, [flow.name])[flow.name])


def announce(
    response: HttpResponse, said: str, *, changed: bool = False, close: str = ""
) -> HttpResponse:
    """Have the page read a sentence aloud, load the cards anew, or close the panel.

    `close` is the id of the element that gets the focus then.
    """
    events: dict[str, Any] = {"flow:announce": {"text": said}}
    if changed:
        events["flow:changed"] = {}
    if close:
        events["flow:close"] = {"focus": close}
    response["HX-Trigger"] = json.dumps(events)
    return response


def panes_of(request: HttpRequest, step: Step) -> list[Pane]:
    """Return the parts of the panel that the user may see."""
    rights = StepRights(request, step.flow)
    scripts: Any = site.get_model_admin(Script)
    queues: Any = site.get_model_admin(Queue)
    flows: Any = site.get_model_admin(Flow)
    found = []
    if rights.may_see_script(step.script):
        may_change = rights.may_change_script(step.script)
        make = partial(code_form, request)
        found.append(Pane("script", "Script", step.script, scripts, make, may_change))
    if rights.may_see_queues:
        may_change = rights.may_change_queue(step.queue)
        make = partial(queue_form, request)
        found.append(Pane("queue", "Queue", step.queue, queues, make, may_change))
    make = partial(step_form, request)
    return [*found, Pane("step", "Step", step, flows, make, rights.may_change)]


def _shown(pane: Pane) -> dict[str, Any]:
    """Return a pane with the form as its object is stored."""
    form = pane.form(pane.obj, None) if pane.may_change else None
    return {
        "name": pane.name,
        "title": pane.title,
        "obj": pane.obj,
        "form": form,
        "seen_state": pane.conflicts.seen_state(form) if form else "",
    }


def save(request: HttpRequest, pane: Pane) -> tuple[dict[str, Any], str]:
    """Save what was sent. Return the pane as it is to be shown, and what became of it."""
    seen = request.POST.get(SEEN, "")
    form = pane.form(_fresh(pane.obj), request.POST)
    # An examination takes its time, so it comes before the transaction.
    is_valid = form.is_valid()
    with transaction.atomic():
        # A user who saves at the same time waits here, and then gets the conflict.
        type(pane.obj)._base_manager.select_for_update().filter(pk=pane.obj.pk).first()
        stored = pane.form(_fresh(pane.obj), None)
        digest = pane.conflicts.seen_state(stored)
        if seen and seen != digest and (found := pane.conflicts.differences(stored, form)):
            return {
                **_shown(pane),
                "form": form,
                "seen_state": digest,
                "differences": found,
                "saved": last_change(pane.obj),
            }, CONFLICT
        if not is_valid:
            return {**_shown(pane), "form": form, "seen_state": seen or digest}, REFUSED
        if CONFIRMED not in request.POST and (impact := _impact(request, pane, stored, form)):
            found = pane.conflicts.differences(stored, form)
            diff = diff_of_fields(
                {each.label: each.stored for each in found},
                {each.label: each.mine for each in found},
            )
            asked = {"seen_state": digest, "impact": impact, "diff": diff}
            return {**_shown(pane), "form": form, **asked}, REFUSED
        _save(request, pane, form)
    return {**_shown(replace(pane, obj=_fresh(pane.obj))), "is_saved": True}, SAVED


def _impact(request: HttpRequest, pane: Pane, stored: Any, form: Any) -> Any:
    """Return what the change touches, as the page of the object asks about it."""
    changed = {each.name for each in pane.conflicts.differences(stored, form)}
    found: Any = pane.conflicts
    return found.impact_of(request, stored.instance, changed, form.instance)


def _save(request: HttpRequest, pane: Pane, form: Any) -> None:
    row = form.instance
    left = [each.name for each in row._meta.concrete_fields if each.name not in form.fields]
    # The fields of other forms keep what another user may have saved a moment ago.
    row.refresh_from_db(fields=left)
    found: Any = pane.conflicts
    if isinstance(row, Step):
        rename_way(row, Step.objects.values_list("name", flat=True).get(pk=row.pk))
        row.save()
        change = {"name": "step", "object": str(row), "fields": form.changed_data}
        found.log_change(request, row.flow, [{"changed": change}])
        if wants_upgrade(request):
            upgrade_waiting(row.flow, user=request.user)
        return
    found.save_model(request, row, form, change=True)
    found.log_change(request, row, found.construct_change_message(request, form, [], False))
    if wants_upgrade(request):
        found.upgrade_runs(request, row)


def _fresh(obj: Model) -> Any:
    return type(obj)._base_manager.get(pk=obj.pk)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 19 else None

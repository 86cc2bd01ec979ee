"""Size, threads, rate and polling of a queue, changed in place: on its page and from the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from flows.admin.display import page_of
from flows.admin.step_rights import StepRights
from flows.models import Flow, Queue, Step
from flows.monitoring.impact import Impact, impact_of
from scripts.admin.bounds import state_bounds
from scripts.admin.confirmation import CONFIRMED
from scripts.admin.conflicts import SEEN, last_change
from scripts.admin.site import site

if TYPE_CHECKING:
    from flows.admin.pausing import PausingAdmin as Base
else:
    Base = object

TUNED = ("size", "polling", "rate_count", "rate_period")


class TuningAdmin(Base):
    """Adds the form to the admin of queues. It saves as the whole form and a flow's panel do."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.tune)
        return [path("<int:pk>/tune/", view, name="flows_queue_tune"), *super().get_urls()]

    def tune(self, request: HttpRequest, pk: int) -> HttpResponse:
        queue = self.get_object(request, str(pk))
        if queue is None:
            raise Http404
        if not self.has_change_permission(request, queue):
            raise PermissionDenied
        if request.method != "POST":
            form = self._tuning_form(request, pk)
            return self._tuning_page(request, queue, form, seen=self.seen_state(form))
        more = self._save_tuning(request, queue)
        if more is not None:
            return self._tuning_page(request, queue, **more)
        self.message_user(request, f"The queue {queue.name} was changed.", messages.SUCCESS)
        if "HX-Request" in request.headers:
            return HttpResponse(headers={"HX-Refresh": "true"})
        return redirect(page_of(queue))

    def _tuning_form(self, request: HttpRequest, pk: int, data: Any = None) -> Any:
        """Return these fields of the page's form, and the threads of the step if it has one."""
        queue = Queue.objects.select_related("step__flow").get(pk=pk)
        form_class = self.get_form(request, queue, change=True, fields=TUNED)
        form = form_class(data, instance=queue, auto_id="tune-%s")
        for name in set(form.fields) - set(TUNED):
            del form.fields[name]
        step = queue.fed_step
        if step is not None and StepRights(request, step.flow).may_change:
            form.fields["threads"] = _threads_field()
            form.initial["threads"] = step.threads
            form.order_fields(("size", "threads"))
        return form

    def _save_tuning(self, request: HttpRequest, queue: Queue) -> dict[str, Any] | None:
        """Save what was sent, and return None; or what the page has to ask or to show."""
        with transaction.atomic():
            # A user who saves at the same time waits here, and then gets the conflict.
            Queue.objects.select_for_update().filter(pk=queue.pk).first()
            stored = self._tuning_form(request, queue.pk)
            form = self._tuning_form(request, queue.pk, request.POST)
            seen = self.seen_state(stored)
            is_valid = form.is_valid()
            found = self.differences(stored, form)
            if request.POST.get(SEEN, seen) != seen and found:
                return {"form": form, "seen": seen, "differences": found}
            if not is_valid:
                return {"form": form, "seen": seen}
            names = {each.name for each in found}
            impact = _impact(stored.instance, names, form.instance)
            if impact and CONFIRMED not in request.POST:
                return {"form": form, "seen": seen, "impact": impact}
            self._store(request, form, names)
        return None

    def _store(self, request: HttpRequest, form: Any, names: set[str]) -> None:
        queue = form.instance
        if names - {"threads"}:
            # The fields of other forms keep what another user may have saved a moment ago.
            left = [f.name for f in queue._meta.concrete_fields if f.name not in TUNED]
            queue.refresh_from_db(fields=left)
            self.save_model(request, queue, form, change=True)
            sent = [name for name in form.changed_data if name != "threads"]
            self.log_change(request, queue, [{"changed": {"fields": sent}}])
        if "threads" in names:
            step = Step.objects.select_related("flow").get(queue=queue)
            step.threads = form.cleaned_data["threads"]
            step.save(update_fields=["threads"])
            flows: Any = site.get_model_admin(Flow)
            change = {"name": "step", "object": str(step), "fields": ["threads"]}
            flows.log_change(request, step.flow, [{"changed": change}])
            step.flow.make_version(author=request.user)

    def _tuning_page(
        self, request: HttpRequest, queue: Queue, form: Any, seen: str, **more: Any
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            **more,
            "title": f"Change the queue {queue.name}",
            "opts": self.opts,
            "queue": queue,
            "form": form,
            "seen": seen,
            "saved": last_change(queue) if "differences" in more else None,
            "tune_url": reverse("admin:flows_queue_tune", args=[queue.pk]),
            "back_url": page_of(queue),
        }
        return TemplateResponse(request, "admin/flows/queue/tune.html", context)


def _threads_field() -> forms.IntegerField:
    field = forms.IntegerField(
        min_value=1,
        max_value=1_000,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=str(Step._meta.get_field("threads").help_text),
    )
    return state_bounds(Step._meta.get_field("threads"), field)


def _impact(queue: Queue, names: set[str], new: Queue) -> Impact:
    """Return what the change of the queue touches, and that of its step's threads."""
    found = impact_of(queue, names, new)
    step = queue.fed_step
    if "threads" not in names or step is None:
        return found
    of_step = impact_of(step, {"threads"})
    notes = [*found.notes, *(note for note in of_step.notes if note not in found.notes)]
    return Impact(found.flows or of_step.flows, notes)

"""Flows with their steps, versions and runs, and the page that starts one."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.datasets import BaseDataset
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.paginator import InfinitePaginator

from flows import engine
from flows.access.configuring import scripts_to_choose
from flows.access.rights import flows_with, queues_seen
from flows.admin.by_role import ByRole, configures, has_right, may_view, rights_of
from flows.admin.display import link, list_of, page_of
from flows.admin.home import HomeUrls
from flows.admin.pausing import PausingAdmin
from flows.admin.roles import MappingsOfFlowInline
from flows.admin.rows import DistinctRowForm, DistinctRows
from flows.admin.run_bodies import payload_like
from flows.admin.runs import RunAdmin
from flows.errors import FlowError, PayloadInvalid
from flows.models import DeadLetter, Flow, FlowVersion, Right, Run, Step, StepVersion
from flows.pipes.snippets import snippets
from scripts.admin.base import PlainInline, ReadOnlyAdmin, ReadOnlyInline
from scripts.admin.durations import format_duration
from scripts.admin.json_fields import CodeWidget, indented
from scripts.trials.examples import example_payload

ONE_STEP_A_QUEUE = "A queue feeds one step, and this one feeds a step already."
ONE_NAME_A_STEP = "Another step of this flow has this name."


class StepForm(DistinctRowForm):
    violation = ("name", ONE_NAME_A_STEP)

    class Meta:
        model = Step
        fields = ("name", "script", "queue", "threads", "join", "position")
        error_messages = {"queue": {"unique": ONE_STEP_A_QUEUE}}


class StepFormSet(DistinctRows):
    distinct = ((("name",), ONE_NAME_A_STEP), (("queue",), ONE_STEP_A_QUEUE))

    def clean(self) -> None:
        super().clean()
        self._place_new_steps_last()

    def _place_new_steps_last(self) -> None:
        """Number the new steps: the page numbers a row when it is dragged, not when it is added."""
        forms = self.kept_forms()
        places = [f.cleaned_data.get("position") or 0 for f in forms if f.instance.pk]
        place = max(places, default=-1)
        for form in forms:
            if form.instance.pk is None:
                place += 1
                form.instance.position = place


class OfSeenFlow:
    """Rows of a flow's page: users who see the page see them."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True


class StepInline(OfSeenFlow, PlainInline):
    model = Step
    form = StepForm
    formset = StepFormSet
    extra = 0
    ordering_field = "position"
    hide_ordering_field = True
    autocomplete_fields = ("script", "queue")
    verbose_name_plural = "steps, in the order in which a message goes through them"

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "queue":
            kwargs["queryset"] = queues_seen(request.user)
        elif db_field.name == "script":
            kwargs["queryset"] = scripts_to_choose(request.user)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_add_permission(request, obj) or _configures(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) or _configures(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) or _configures(request, obj)


def _configures(request: HttpRequest, flow: Flow | None) -> bool:
    return configures(request, flow.pk if flow else None)


class VersionInline(OfSeenFlow, ReadOnlyInline):
    model = FlowVersion
    fields = ("version", "created_at", "path")
    readonly_fields = fields
    ordering = ("-number",)
    verbose_name_plural = "versions"

    def get_queryset(self, request: HttpRequest) -> QuerySet[FlowVersion]:
        return super().get_queryset(request).prefetch_related("steps__script_version")

    @admin.display(description="version")
    def version(self, version: FlowVersion) -> str:
        return link(page_of(version), f"Version {version.number}")

    @admin.display(description="steps")
    def path(self, version: FlowVersion) -> str:
        return " → ".join(f"{step} ({step.script_version})" for step in version.steps.all())


class NewestRuns(InfinitePaginator):
    template_name = "admin/flows/flow/newest_runs.html"


class RunsOfFlowAdmin(RunAdmin):
    """The list of runs on a flow's page."""

    list_display = ("correlation_id", "status_label", "created", "duration", "warnings")
    search_fields = ()
    actions: Any = None
    paginator = NewestRuns
    list_per_page = 20

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        flow_id = self.extra_context["object"]
        versions = FlowVersion.objects.filter(flow=flow_id).values_list("pk", flat=True)
        return super().get_queryset(request).filter(flow_version__in=list(versions))


class RunsOfFlow(BaseDataset):
    model = Run
    model_admin = RunsOfFlowAdmin
    tab = True
    title = "Recent runs"


class StartForm(forms.Form):
    payload = forms.CharField(
        widget=CodeWidget(rows=16),
        strip=False,
        help_text="A JSON object. The script of the first step receives it.",
    )


@admin.register(Flow)
class FlowAdmin(HomeUrls, PausingAdmin):
    list_display = ("name", "active", "state_label", "path", "kept_for", "open_dead_letters")
    list_filter = ("active", "paused")
    list_select_related = ("paused_by",)
    search_fields = ("name", "description")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "name",
                    "description",
                    "active",
                    "pause_state",
                    "retention",
                    "max_age",
                    "keep",
                )
            },
        ),
    )
    readonly_fields = ("pause_state",)
    inlines = (StepInline, VersionInline, MappingsOfFlowInline)
    actions = ("activate", "deactivate", "pause_selected", "resume_selected")
    actions_row = ("start",)
    actions_detail = ("runs", "pause", "resume", "start")
    change_form_after_template = "admin/flows/flow/service_pipe.html"

    def seen(self, request: HttpRequest) -> Q | None:
        rights = rights_of(request)
        return None if rights[None] else Q(pk__in=flows_with(rights, set(Right.values)))

    def flow_of(self, obj: Flow) -> int | None:
        return obj.pk

    def get_queryset(self, request: HttpRequest) -> QuerySet[Flow]:
        dead = DeadLetter.objects.all().open_in("step__flow_version__flow")
        flows = super().get_queryset(request).prefetch_related("steps")
        return flows.annotate(dead=dead)

    def get_fieldsets(self, request: HttpRequest, obj: Flow | None = None) -> Any:
        if obj is None:
            return (
                (
                    None,
                    {"fields": ("name", "description", "active", "retention", "max_age", "keep")},
                ),
            )
        return super().get_fieldsets(request, obj)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if flow := context.get("original"):
            context["service_pipe"] = snippets(flow.name)
        return super().render_change_form(request, context, *args, **kwargs)

    def get_changeform_datasets(self, request: HttpRequest) -> Any:
        known = request.resolver_match and request.resolver_match.kwargs.get("object_id")
        return (RunsOfFlow,) if known and self.has_see_runs_permission(request) else ()

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        form.instance.make_version()

    @admin.display(description="steps")
    def path(self, flow: Flow) -> str:
        return " → ".join(step.name for step in flow.steps.all())

    @admin.display(description="runs are kept", ordering="retention")
    def kept_for(self, flow: Flow) -> str:
        return format_duration(flow.retention)

    @display(description="dead letters", ordering="dead")
    def open_dead_letters(self, flow: Any) -> Any:
        if not flow.dead:
            return 0
        return link(list_of(DeadLetter, flow=flow.name, state="open"), f"{flow.dead:,}")

    @admin.action(description="Activate the selected flows", permissions=["change"])
    def activate(self, request: HttpRequest, flows: QuerySet[Flow]) -> None:
        self._set_active(request, flows, True)

    @admin.action(description="Deactivate the selected flows", permissions=["change"])
    def deactivate(self, request: HttpRequest, flows: QuerySet[Flow]) -> None:
        self._set_active(request, flows, False)

    def _set_active(self, request: HttpRequest, flows: QuerySet[Flow], active: bool) -> None:
        for flow in flows.exclude(active=active):
            if not self.has_change_permission(request, flow):
                continue
            flow.active = active
            flow.save(update_fields=["active"])
        done = "active" if active else "inactive"
        self.message_user(request, f"The flows are {done}.", messages.SUCCESS)

    @action(description="Runs", icon="list", permissions=["see_runs"])
    def runs(self, request: HttpRequest, object_id: str) -> HttpResponse:
        flow = self.get_object(request, object_id)
        if flow is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return redirect(list_of(Run, flow=flow.name))

    def has_see_runs_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return may_view(request, Run)

    def has_start_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return self.may(request, Right.START, object_id)

    def get_actions_row(self, request: HttpRequest) -> list[Any]:
        """Offer the start in the list if the user may start every flow of it."""
        flows = self.get_queryset(request).values_list("pk", flat=True)
        may_start_all = all(has_right(request, {Right.START}, pk) for pk in flows)
        return super().get_actions_row(request) if may_start_all else []

    @action(
        description="Start",
        icon="play_arrow",
        permissions=["start"],
        variant=ActionVariant.PRIMARY,
    )
    def start(self, request: HttpRequest, object_id: str) -> HttpResponse:
        flow = self.get_object(request, object_id)
        if flow is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        payload = payload_like(request, flow) or example_of(flow)
        form = StartForm(request.POST or None, initial={"payload": payload})
        if form.is_valid() and (response := self._start(request, flow, form)):
            return response
        context = {
            **self.admin_site.each_context(request),
            "title": "Start",
            "card_title": f"Start a run of {flow.name}",
            "verb": "Start",
            "opts": self.opts,
            "original": flow,
            "form": form,
            "path": self.path(flow),
            "why_it_waits": why_it_would_wait(flow),
            "back_url": page_of(flow),
        }
        return TemplateResponse(request, "admin/flows/flow/start.html", context)

    def _start(self, request: HttpRequest, flow: Flow, form: StartForm) -> HttpResponse | None:
        payload = form.cleaned_data["payload"].encode()
        try:
            started = engine.start(flow.name, payload, user=request.user)
        except PayloadInvalid as error:
            faults = [f"{fault['path']}: {fault['detail']}" for fault in error.errors]
            form.add_error("payload", [str(error), *faults])
            return None
        except FlowError as error:
            form.add_error(None, str(error))
            return None
        self.message_user(request, f"Run {started.correlation_id} was started.", messages.SUCCESS)
        if why := why_it_would_wait(flow):
            self.message_user(request, why, messages.WARNING)
        if not self.has_see_runs_permission(request):
            return redirect(page_of(flow))
        return redirect(reverse("admin:flows_run_change", args=[started.correlation_id]))


def why_it_would_wait(flow: Flow) -> str | None:
    """Say why a run that is started now waits at its first step."""
    if flow.paused:
        return "The flow is paused: a run waits until it is resumed."
    first = flow.steps.select_related("queue").first()
    if first and first.queue.paused:
        return f"The queue {first.queue.name!r} is paused: a run waits until it is resumed."
    return None


class StepVersionInline(OfSeenFlow, ReadOnlyInline):
    model = StepVersion
    fields = ("name", "script", "queue_name", "waits_for_all")
    readonly_fields = fields
    tab = False
    verbose_name_plural = "steps"

    def get_queryset(self, request: HttpRequest) -> QuerySet[StepVersion]:
        return super().get_queryset(request).select_related("script_version")

    @admin.display(description="script")
    def script(self, step: StepVersion) -> str:
        return link(page_of(step.script_version), step.script_version)

    @admin.display(description="join", boolean=True)
    def waits_for_all(self, step: StepVersion) -> bool:
        return step.join


@admin.register(FlowVersion)
class FlowVersionAdmin(ByRole, ReadOnlyAdmin):
    list_display = ("__str__", "created_at")
    search_fields = ("flow_name",)
    fields = ("flow", "number", "created_at")
    inlines = (StepVersionInline,)

    def seen(self, request: HttpRequest) -> Q | None:
        rights = rights_of(request)
        return None if rights[None] else Q(flow__in=flows_with(rights, set(Right.values)))


def example_of(flow: Flow) -> str:
    """Return JSON text for the start form, `{}` if the first script has no input schema."""
    first = flow.steps.select_related("script").order_by("position", "pk").first()
    example = example_payload(first.script.input_schema) if first else {}
    return indented(example if isinstance(example, dict) else {})

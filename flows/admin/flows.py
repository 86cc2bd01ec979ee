"""Flows with their steps, versions and runs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Case, Q, QuerySet, When
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.safestring import SafeString
from simple_history.template_utils import HistoricalRecordContextHelper
from unfold.decorators import action, display

from flows.access import audit
from flows.access.rights import flows_with, seen_runs
from flows.admin.by_role import configures, has_right, may_view, rights_of, watched_flow_ids
from flows.admin.configuration import ConfigurationUrls
from flows.admin.deleted_flows import DeletedFlowsAdmin
from flows.admin.display import elapsed, first_line, link, list_of, page_of
from flows.admin.flow_form import FlowForm
from flows.admin.flow_versions import VersionInline
from flows.admin.home import HomeUrls
from flows.admin.pausing import PausingAdmin
from flows.admin.roles import MappingsOfFlowInline
from flows.admin.run_labels import RUN_LABELS, words_of
from flows.admin.schedules import schedules_of
from flows.admin.start_calls import calls
from flows.admin.starting import StartingAdmin
from flows.admin.step_panel import StepPanelAdmin
from flows.admin.webhook_secrets import WebhookSecretAdmin
from flows.models import DeadLetter, Flow, FlowState, Right, RoleMapping, Run
from flows.models.starting import starters_of
from flows.monitoring.impact import flow_goes, versions_with_runs
from flows.webhooks.shown import shown_url
from scripts.admin.bulk import bulk_action
from scripts.admin.deletion import Deletion, DeletionAdmin
from scripts.admin.durations import format_duration
from scripts.admin.site import register, site

RESTORABLE = "It can be restored from the list of deleted flows."
MOST_RUNS = 8
# Runs are looked for in this many of the newest versions that have some.
MOST_VERSIONS = 5


def to_activate(model_admin: Any, request: HttpRequest, flows: list[Flow]) -> Any:
    return _to_change(model_admin, request, flows, active=True)


def to_deactivate(model_admin: Any, request: HttpRequest, flows: list[Flow]) -> Any:
    return _to_change(model_admin, request, flows, active=False)


def _to_change(
    model_admin: Any, request: HttpRequest, flows: list[Flow], *, active: bool
) -> tuple[list[Flow], list[str]]:
    """Return those that the user may change and that are not so yet, and notes about the others."""
    allowed = [flow for flow in flows if model_admin.has_change_permission(request, flow)]
    changed = [flow for flow in allowed if flow.active != active]
    notes = []
    if left_out := len(flows) - len(allowed):
        notes.append(f"Left out, because none of your roles configures them: {left_out}.")
    if same := len(allowed) - len(changed):
        notes.append(f"Left out, because they are {'active' if active else 'inactive'}: {same}.")
    return changed, notes


class ShownWebhooks(HistoricalRecordContextHelper):
    """Shows a history to those who may not change the flow: without queries of webhooks."""

    def prepare_delta_change_value(self, change: Any, value: Any) -> Any:
        shown = super().prepare_delta_change_value(change, value)
        return shown_url(str(shown)) if change.field == "webhook_url" else shown


@register(Flow)
class FlowAdmin(
    DeletionAdmin,
    DeletedFlowsAdmin,
    StartingAdmin,
    StepPanelAdmin,
    WebhookSecretAdmin,
    ConfigurationUrls,
    HomeUrls,
    PausingAdmin,
):
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
                    "archive",
                    "max_age",
                    "keep",
                    "may_start",
                    "webhook_url",
                    "private_webhooks",
                    "webhook_secret",
                    "start_rate_count",
                    "start_rate_period",
                )
            },
        ),
    )
    readonly_fields = ("pause_state", "started_flows", "shown_webhook", "webhook_secret")
    form = FlowForm
    inlines = (VersionInline, MappingsOfFlowInline)
    actions = ("activate", "deactivate", "pause_selected", "resume_selected")
    actions_list = ("deleted_flows",)
    actions_row = ("start",)
    actions_detail = ("runs", "states", "pause", "resume", "start")

    active_field = "active"

    def deletion_of(self, request: HttpRequest, obj: Flow) -> Deletion:
        mappings = site.get_model_admin(RoleMapping)
        rows = obj.role_mappings.all()
        may_delete = all(mappings.has_delete_permission(request, each) for each in rows)
        missing = set() if may_delete else {str(RoleMapping._meta.verbose_name_plural)}
        return Deletion([*flow_goes(obj), RESTORABLE], permissions=missing)

    def seen(self, request: HttpRequest) -> Q | None:
        rights = rights_of(request)
        return None if rights[None] else Q(pk__in=flows_with(rights, set(Right.values)))

    def flow_of(self, obj: Flow) -> int | None:
        return obj.pk

    def get_queryset(self, request: HttpRequest) -> QuerySet[Flow]:
        flows = super().get_queryset(request).prefetch_related("steps")
        if not _is_list(request):
            return flows
        dead = DeadLetter.objects.all().open_in("step__flow_version__flow")
        watched = watched_flow_ids(request)
        # None: dead letters are not for users who may only start the flow.
        return flows.annotate(dead=dead if watched is None else _where(watched, dead))

    def get_fieldsets(self, request: HttpRequest, obj: Flow | None = None) -> Any:
        if obj is None:
            return ((None, {"fields": ("name", "description")}),)
        if self.has_change_permission(request, obj):
            return super().get_fieldsets(request, obj)
        [(title, options)] = super().get_fieldsets(request, obj)
        # Without the list to choose from, a value of JSON would be shown.
        shown = {"may_start": "started_flows", "webhook_url": "shown_webhook"}
        fields = [shown.get(each, each) for each in options["fields"] if each != "webhook_secret"]
        return ((title, options | {"fields": fields}),)

    def get_form(
        self, request: HttpRequest, obj: Flow | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj is None:
            return super().get_form(request, obj, change, form=ModelForm, **kwargs)
        form: Any = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"user": request.user})

    def get_inlines(self, request: HttpRequest, obj: Flow | None) -> list[Any]:
        # A new flow has a name first; all else is on its page.
        return super().get_inlines(request, obj) if obj else []

    def response_add(
        self, request: HttpRequest, obj: Flow, post_url_continue: str | None = None
    ) -> HttpResponse:
        if "_addanother" in request.POST or "_popup" in request.POST:
            return super().response_add(request, obj, post_url_continue)
        note = f"The flow {obj.name} was made. Add its first step."
        self.message_user(request, note, messages.SUCCESS)
        return redirect(page_of(obj))

    def response_change(self, request: HttpRequest, obj: Flow) -> HttpResponse:
        if "_save" not in request.POST:
            return super().response_change(request, obj)
        self.message_user(request, f"The flow {obj.name} was saved.", messages.SUCCESS)
        return redirect(page_of(obj))

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if flow := context.get("original"):
            context |= self.steps_context(request, flow)
            context["calls"] = calls(request, flow)
            context |= schedules_of(request, flow)
            context["can_start_here"] = self.has_start_permission(request, flow.pk)
            if self.has_see_runs_permission(request):
                context["recent_runs"] = recent_runs(request, flow)
                context["runs_url"] = list_of(Run, flow=flow.name)
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Flow, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        starters = starters_of(obj) if change and "name" in form.changed_data else []
        if starters:
            note = _names_to_change(form.initial["name"], starters)
            self.message_user(request, note, messages.WARNING)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        form.instance.make_version(author=request.user)

    @display(description="state", ordering="paused")
    def state_label(self, flow: Flow) -> SafeString:
        if not flow.active:
            return self.labelled(flow, "inactive", "")
        if not flow.steps.all():
            return self.labelled(flow, "incomplete: add a step", "danger")
        if flow.paused:
            return self.labelled(flow, "paused", "warning")
        return self.labelled(flow, "open", "success")

    @display(description="may start")
    def started_flows(self, flow: Flow) -> str:
        return ", ".join(flow.may_start) or "no flow"

    @admin.display(description="webhook")
    def shown_webhook(self, flow: Flow) -> str:
        return shown_url(flow.webhook_url) or "none"

    def get_historical_record_context_helper(self, request: HttpRequest, record: Any) -> Any:
        user: Any = request.user
        changes = configures(request, record.id) or user.has_perm("flows.change_flow")
        made = super().get_historical_record_context_helper(request, record)
        return made if changes else ShownWebhooks(self.model, record)

    @admin.display(description="steps")
    def path(self, flow: Flow) -> str:
        return " → ".join(step.name for step in flow.steps.all())

    @admin.display(description="runs are kept", ordering="retention")
    def kept_for(self, flow: Flow) -> str:
        return format_duration(flow.retention)

    @display(description="dead letters", ordering="dead")
    def open_dead_letters(self, flow: Any) -> Any:
        if not flow.dead:
            return "-" if flow.dead is None else 0
        return link(list_of(DeadLetter, flow=flow.name, state="open"), f"{flow.dead:,}")

    @bulk_action(
        "Activate", "They take starts again.", to_activate, permissions=["change"], asks_reason=True
    )
    def activate(self, request: HttpRequest, flows: list[Flow], reason: str) -> None:
        self._set_active(request, flows, True, reason)

    @bulk_action(
        "Deactivate",
        "Starts of them are refused. Runs under way go on to their end.",
        to_deactivate,
        permissions=["change"],
        asks_reason=True,
    )
    def deactivate(self, request: HttpRequest, flows: list[Flow], reason: str) -> None:
        self._set_active(request, flows, False, reason)

    def _set_active(
        self, request: HttpRequest, flows: list[Flow], active: bool, reason: str
    ) -> None:
        with audit.acting(reason=reason):
            for flow in flows:
                flow.active = active
                flow.save(update_fields=["active"])
        names = ", ".join(flow.name for flow in flows)
        done = "Active" if active else "Inactive"
        self.message_user(request, f"{done} now: {names}.", messages.SUCCESS)

    @action(description="Runs", icon="list", permissions=["see_runs"])
    def runs(self, request: HttpRequest, object_id: str) -> HttpResponse:
        flow = self.get_object(request, object_id)
        if flow is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return redirect(list_of(Run, flow=flow.name))

    def has_see_runs_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return may_view(request, Run)

    @action(description="States", icon="save", permissions=["see_states"])
    def states(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect(list_of(FlowState, flow__id__exact=object_id))

    def has_see_states_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        states = site.get_model_admin(FlowState).get_queryset(request)
        return object_id is None or states.filter(flow=object_id).exists()

    def get_actions_row(self, request: HttpRequest) -> list[Any]:
        """Offer the start in the list if the user may start every flow of it."""
        flows = self.get_queryset(request).values_list("pk", flat=True)
        may_start_all = all(has_right(request, {Right.START}, pk) for pk in flows)
        return super().get_actions_row(request) if may_start_all else []


def recent_runs(request: HttpRequest, flow: Flow) -> list[dict[str, Any]]:
    """Return the newest runs of the flow that the user may see.

    They are read by version, the newest first, each by the index of the runs of a version.
    """
    seen = seen_runs(request.user, rights_of(request)) or Q()
    found: list[Run] = []
    for version in versions_with_runs(flow)[:MOST_VERSIONS]:
        runs = Run.objects.filter(seen, flow_version=version).order_by("-correlation_id")
        found += runs.defer(*Run.PAYLOADS)[: MOST_RUNS - len(found)]
        if len(found) >= MOST_RUNS:
            break
    words = words_of(found)
    return [
        {
            "run": run,
            "url": page_of(run),
            "word": words[run.pk],
            "label": RUN_LABELS[words[run.pk]],
            "duration": elapsed(run.started_at, run.finished_at),
            "error": first_line(run.error),
        }
        for run in sorted(found, key=lambda run: run.pk, reverse=True)
    ]


def _names_to_change(old_name: str, starters: list[Flow]) -> str:
    names = ", ".join(flow.name for flow in starters)
    return (
        f"Flows whose scripts may start this one keep that right: {names}. Their code still names"
        f" {old_name}: change it there. Messages that run with older code are refused the start."
    )


def _where(flow_ids: tuple[int, ...], value: Any) -> Any:
    return Case(When(pk__in=flow_ids, then=value), default=None)


def _is_list(request: HttpRequest) -> bool:
    match = request.resolver_match
    return match is not None and (match.url_name or "").endswith("_changelist")

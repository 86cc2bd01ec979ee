"""Schedules of flows: their list, the page of one, and what the page of a flow shows of them."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from flows import engine
from flows.access.rights import flows_with
from flows.admin.by_role import (
    ConfiguredByRole,
    configures,
    has_right,
    has_right_somewhere,
    rights_of,
)
from flows.admin.display import link, page_of, shown_time
from flows.models import Flow, FlowSchedule, FlowScheduleState, Right, Run
from flows.models.cron_times import CronInvalid
from scripts.admin.base import ConfigurationAdmin
from scripts.admin.bulk import bulk_action
from scripts.admin.deletion import Deletion, DeletionAdmin
from scripts.admin.dialogs import DetailActions, asking, dialog, leave_dialog
from scripts.admin.json_fields import MONOSPACE
from scripts.admin.site import register

NEXT_TIMES = 5
TO_CHANGE = frozenset({Right.CONFIGURE.value})
NOT_STARTED = (
    "Its flow is not started by it until it is resumed. The times until then are left out, and runs"
    " that it has started go on."
)
STARTED = "Its flow is started at its times again, from the next one on."


def to_pause(
    model_admin: Any, request: HttpRequest, schedules: list[FlowSchedule]
) -> tuple[list[FlowSchedule], list[str]]:
    return _operated(model_admin, request, schedules, active=True)


def to_resume(
    model_admin: Any, request: HttpRequest, schedules: list[FlowSchedule]
) -> tuple[list[FlowSchedule], list[str]]:
    return _operated(model_admin, request, schedules, active=False)


def _operated(
    model_admin: Any, request: HttpRequest, schedules: list[FlowSchedule], *, active: bool
) -> tuple[list[FlowSchedule], list[str]]:
    """Return those in this state whose flow the user operates, and notes about the others."""
    operated = model_admin.permitted(request, Right.OPERATE, schedules)
    changed = [each for each in operated if each.active == active]
    notes = []
    if left_out := len(schedules) - len(operated):
        notes.append(f"Left out, because none of your roles operates their flows: {left_out}.")
    if same := len(operated) - len(changed):
        state = "paused" if active else "active"
        notes.append(f"Left out, because they are {state}: {same}.")
    return changed, notes


class ScheduleForm(forms.ModelForm):
    class Meta:
        model = FlowSchedule
        fields = "__all__"  # noqa: DJ007 - the admin names them
        widgets = {
            "cron": UnfoldAdminTextInputWidget(attrs={"style": MONOSPACE, "spellcheck": "false"}),
            "payload": UnfoldAdminTextareaWidget(
                attrs={"rows": 6, "style": MONOSPACE, "spellcheck": "false"}
            ),
            "labels": UnfoldAdminTextareaWidget(
                attrs={"rows": 2, "style": MONOSPACE, "spellcheck": "false"}
            ),
        }


@register(FlowSchedule)
class FlowScheduleAdmin(DetailActions, ConfiguredByRole, DeletionAdmin, ConfigurationAdmin):
    opened_by = frozenset({Right.CONFIGURE.value, Right.OPERATE.value, Right.WATCH.value})
    form = ScheduleForm
    list_display = (
        "name",
        "flow_link",
        "cron",
        "time_zone",
        "next_start",
        "last_start",
        "state_label",
    )
    list_filter = ("active", ("flow", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("flow", "state")
    search_fields = ("name", "flow__name")
    fieldsets = (
        (None, {"fields": ("flow", "name", "active")}),
        ("When", {"fields": ("cron", "time_zone", "jitter", "next_times")}),
        ("What", {"fields": ("payload", "labels", "priority")}),
        ("Missed and overlapping starts", {"fields": ("missed", "overlap", "problem")}),
    )
    readonly_fields = ("next_times", "problem")
    active_field = "active"
    actions: Any = ("pause_selected", "resume_selected")
    actions_detail = ("pause", "resume")
    preformatted_fields = ("payload",)

    def seen(self, request: HttpRequest) -> Q | None:
        rights = rights_of(request)
        if rights[None] & self.opened_by:
            return None
        return Q(flow__in=flows_with(rights, self.opened_by))

    def flow_of(self, obj: FlowSchedule) -> int | None:
        return obj.flow_id

    def offered(self, obj: FlowSchedule) -> tuple[str, ...]:
        return ("pause",) if obj.active else ("resume",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) or has_right_somewhere(request, TO_CHANGE)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)

    def deletion_of(self, request: HttpRequest, obj: FlowSchedule) -> Deletion:
        return Deletion([f"The flow {obj.flow} is not started by it any more. Its runs stay."])

    def get_fieldsets(self, request: HttpRequest, obj: FlowSchedule | None = None) -> Any:
        if obj is not None:
            return self.fieldsets
        # What the engine has found is on the page of a schedule that is there.
        found = set(self.readonly_fields)
        return tuple(
            (title, {"fields": [each for each in options["fields"] if each not in found]})
            for title, options in self.fieldsets
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*self.readonly_fields, *(["flow"] if obj else []))

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "flow":
            kwargs["queryset"] = _flows_to_schedule(request, super().has_add_permission(request))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    @bulk_action("Pause", NOT_STARTED, to_pause, permissions=["operate"], asks_reason=True)
    def pause_selected(
        self, request: HttpRequest, schedules: list[FlowSchedule], reason: str
    ) -> None:
        self._set_active(request, schedules, False, reason)

    @bulk_action("Resume", STARTED, to_resume, permissions=["operate"], asks_reason=True)
    def resume_selected(
        self, request: HttpRequest, schedules: list[FlowSchedule], reason: str
    ) -> None:
        self._set_active(request, schedules, True, reason)

    @asking(
        dialog("Pause the {kind} {obj}?", NOT_STARTED, "Pause", "Let it go on", asks_reason=True),
        description="Pause",
        icon="pause",
        permissions=["operate"],
    )
    def pause(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        return self._set_one_active(request, form, object_id, False)

    @asking(
        dialog("Resume the {kind} {obj}?", STARTED, "Resume", asks_reason=True),
        description="Resume",
        icon="resume",
        permissions=["operate"],
        variant=ActionVariant.PRIMARY,
    )
    def resume(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        return self._set_one_active(request, form, object_id, True)

    def _set_one_active(
        self, request: HttpRequest, form: forms.Form, object_id: str, active: bool
    ) -> HttpResponse:
        schedule = get_object_or_404(self.get_queryset(request), pk=object_id)
        self._set_active(request, [schedule], active, form.cleaned_data.get("reason", ""))
        return leave_dialog(page_of(schedule))

    def _set_active(
        self, request: HttpRequest, schedules: list[FlowSchedule], active: bool, reason: str
    ) -> None:
        names = []
        for schedule in schedules:
            try:
                with suppress(ObjectDoesNotExist):
                    engine.set_active(schedule, active, user=request.user, reason=reason)
                    names.append(schedule.name)
            except CronInvalid as error:
                # Of a time zone that this machine does not have, say.
                note = f"Not resumed: {schedule.name}. {error} Correct it on its page."
                self.message_user(request, note, messages.ERROR)
        if names:
            done = f"{'Resumed' if active else 'Paused'}: {', '.join(names)}."
            self.message_user(request, done, messages.SUCCESS)

    @admin.display(description="flow", ordering="flow__name")
    def flow_link(self, schedule: FlowSchedule) -> SafeString:
        return link(page_of(schedule.flow), schedule.flow.name)

    @admin.display(description="next start", ordering="state__at")
    def next_start(self, schedule: FlowSchedule) -> str:
        return shown_time(schedule.state.at, "next") if schedule.state.at else "none"

    @admin.display(description="last start", ordering="state__last_time")
    def last_start(self, schedule: FlowSchedule) -> str:
        state = schedule.state
        if state.last_run is None:
            return "none"
        return link(page_of(Run(pk=state.last_run)), shown_time(state.last_time))

    @display(
        description="state",
        label={"active": "success", "paused": "warning", "has a problem": "danger"},
    )
    def state_label(self, schedule: FlowSchedule) -> str:
        if not schedule.active:
            return "paused"
        return "has a problem" if schedule.state.problem else "active"

    @admin.display(description="next times")
    def next_times(self, schedule: FlowSchedule) -> SafeString | str:
        if not schedule.active:
            return "None: it is paused."
        try:
            times = list(islice(schedule.times().since(timezone.now()), NEXT_TIMES))
        except CronInvalid as error:
            return str(error)
        zone = ZoneInfo(schedule.time_zone)
        shown = ((time.astimezone(zone).strftime("%a, %-d %B %Y, %H:%M:%S %Z"),) for time in times)
        return format_html_join(SafeString("<br>"), "{}", shown)

    @admin.display(description="problem")
    def problem(self, schedule: FlowSchedule) -> str:
        return schedule.state.problem or "none"


def _flows_to_schedule(request: HttpRequest, may_add: bool) -> QuerySet[Flow]:
    """Return the flows that the user configures; with the permission to add, those it sees."""
    flows, rights = Flow.objects.order_by("name"), rights_of(request)
    wanted = FlowScheduleAdmin.opened_by if may_add else TO_CHANGE
    return flows if rights[None] & wanted else flows.filter(pk__in=flows_with(rights, wanted))


def schedules_of(request: HttpRequest, flow: Flow) -> dict[str, Any]:
    """Return what the page of a flow shows of its schedules; nothing to who may not see them."""
    if not has_right(request, FlowScheduleAdmin.opened_by, flow.pk):
        return {}
    rows = FlowSchedule.objects.filter(flow=flow).select_related("state")
    page = page_of(FlowSchedule(pk=0))
    add = reverse("admin:flows_flowschedule_add")
    return {
        "schedules": [
            {
                "row": row,
                "state": row.state,
                "url": page.replace("/0/", f"/{row.pk}/"),
                "last_url": row.state.last_run and page_of(Run(pk=row.state.last_run)),
            }
            for row in rows
        ],
        "add_schedule_url": f"{add}?flow={flow.pk}" if configures(request, flow.pk) else "",
    }


def next_starts(flow_ids: tuple[int, ...] | None, most: int) -> list[FlowScheduleState]:
    """Return the next starts by schedules, of these flows or all."""
    states = FlowScheduleState.objects.exclude(at=None).select_related("schedule__flow")
    if flow_ids is not None:
        states = states.filter(schedule__flow__in=flow_ids)
    return list(states.order_by("at")[:most])

"""The versions of a flow, their differences, and the action that restores one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from unfold.enums import ActionVariant

from flows.access.configuring import scripts_out_of_reach
from flows.access.rights import flows_with
from flows.admin.by_role import ByRole, may_view, rights_of
from flows.admin.display import link, page_of, shown_time
from flows.admin.step_rights import StepRights
from flows.admin.version_restoring import VersionRestoringAdmin
from flows.models import Flow, FlowVersion, Right, StepVersion
from flows.models.step_restoring import missing_parts, restore_steps, starts_left_out
from scripts.admin.base import ReadOnlyAdmin, ReadOnlyInline
from scripts.admin.dialogs import DetailActions, asking, dialog, leave_dialog
from scripts.admin.site import register
from scripts.models import ScriptVersion

MOST_VERSIONS = 20


@dataclass(frozen=True, slots=True)
class StepChange:
    """What differs at a step: `kind` is `added`, `removed` or `changed`."""

    step: str
    kind: str
    text: str
    url: str = ""


def changes_since(before: FlowVersion, version: FlowVersion) -> list[StepChange]:
    """Return the differences between two versions of a flow, with their steps."""
    found = changes_between(before.steps.all(), version.steps.all())
    if before.keep != version.keep:
        kept = f"payloads kept: {before.keep} → {version.keep}"
        found.append(StepChange("", "changed", kept))
    if before.may_start != version.may_start:
        starts = f"may start: {', '.join(version.may_start) or 'no flow'}"
        found.append(StepChange("", "changed", starts))
    return found


def changes_between(
    before: Iterable[StepVersion], after: Iterable[StepVersion]
) -> list[StepChange]:
    """Return the differences between the steps of two versions, by the steps' names."""
    old = {step.name: step for step in before}
    new = {step.name: step for step in after}
    found = [StepChange(name, "removed", "removed") for name in old if name not in new]
    for name, step in new.items():
        if name not in old:
            found.append(StepChange(name, "added", "added"))
        else:
            found += _changes_of(old[name], step)
    kept = [name for name in old if name in new]
    if kept != [name for name in new if name in old]:
        found.append(StepChange("", "changed", f"new order: {' → '.join(new)}"))
    return found


def _changes_of(old: StepVersion, new: StepVersion) -> Iterator[StepChange]:
    if old.script_version_id != new.script_version_id:
        text = f"script {old.script_version} → {new.script_version}"
        url = f"{page_of(new.script_version)}?against={old.script_version.number}"
        is_same = old.script_version.script_id == new.script_version.script_id
        yield StepChange(new.name, "changed", text, url if is_same else "")
    if old.queue_name != new.queue_name:
        yield StepChange(new.name, "changed", f"queue {old.queue_name} → {new.queue_name}")
    if old.threads != new.threads and old.threads and new.threads:
        yield StepChange(new.name, "changed", f"threads {old.threads} → {new.threads}")
    if old.join != new.join:
        yield StepChange(new.name, "changed", "is a join now" if new.join else "is no join now")
    if old.goes_to != new.goes_to:
        text = f"goes to {', '.join(new.goes_to) or 'the next step alone'}"
        yield StepChange(new.name, "changed", text)


def with_steps(versions: QuerySet[FlowVersion]) -> QuerySet[FlowVersion]:
    steps = StepVersion.objects.select_related("script_version").order_by("position")
    steps = steps.defer("script_version__code")
    return versions.select_related("author").prefetch_related(Prefetch("steps", steps))


class VersionInline(ReadOnlyInline):
    model = FlowVersion
    fields = ("version", "saved", "author", "path", "changes")
    readonly_fields = fields
    ordering = ("-number",)
    verbose_name_plural = "versions"
    template_after = "admin/flows/flow/all_versions.html"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Users who see the page of the flow see its versions.
        return True

    def get_queryset(self, request: HttpRequest) -> QuerySet[FlowVersion]:
        return with_steps(super().get_queryset(request))

    @admin.display(description="version")
    def version(self, version: FlowVersion) -> str:
        return link(page_of(version), f"Version {version.number}")

    @admin.display(description="saved")
    def saved(self, version: FlowVersion) -> str:
        return shown_time(version.created_at)

    @admin.display(description="steps")
    def path(self, version: FlowVersion) -> str:
        return " → ".join(f"{step} ({step.script_version})" for step in version.steps.all())

    @admin.display(description="changes")
    def changes(self, version: FlowVersion) -> str:
        before = self._before(version)
        if before is None:
            return "first version"
        found = changes_since(before, version)
        texts = [f"{each.step} {each.text}".strip() for each in found]
        return ", ".join(texts[:4]) + (" …" if len(texts) > 4 else "") or "the flow's name"

    # An inline is created for each request.

    def _before(self, version: FlowVersion) -> FlowVersion | None:
        if version.flow_id not in self._newest:
            self._newest[version.flow_id] = list(_newest_of(version.flow_id))
        earlier = (each for each in self._newest[version.flow_id] if each.number < version.number)
        return next(earlier, None) or version_before(version)

    @cached_property
    def _newest(self) -> dict[int | None, list[FlowVersion]]:
        return {}


def _newest_of(flow_id: int | None) -> QuerySet[FlowVersion]:
    return with_steps(FlowVersion.objects.filter(flow=flow_id).order_by("-number"))[
        : MOST_VERSIONS + 1
    ]


def version_before(version: FlowVersion) -> FlowVersion | None:
    if version.flow_id is None:
        return None
    earlier = FlowVersion.objects.filter(flow=version.flow_id, number__lt=version.number)
    return with_steps(earlier.order_by("-number")).first()


class StepVersionInline(ReadOnlyInline):
    model = StepVersion
    fields = ("name", "script", "queue_then", "threads_then", "waits_for_all")
    readonly_fields = fields
    tab = False
    verbose_name_plural = "steps"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Users who see the version see its steps.
        return True

    def get_queryset(self, request: HttpRequest) -> QuerySet[StepVersion]:
        # An inline is created for each request.
        self.request = request
        return super().get_queryset(request).select_related("script_version")

    @admin.display(description="script")
    def script(self, step: StepVersion) -> str:
        version = step.script_version
        is_seen = may_view(self.request, ScriptVersion, version)
        return link(page_of(version), version) if is_seen else str(version)

    @admin.display(description="queue")
    def queue_then(self, step: StepVersion) -> str:
        return step.queue_name

    @admin.display(description="threads", empty_value="not recorded")
    def threads_then(self, step: StepVersion) -> int | None:
        return step.threads

    @admin.display(description="join")
    def waits_for_all(self, step: StepVersion) -> str:
        return "waits for all branches" if step.join else "no"


@register(FlowVersion)
class FlowVersionAdmin(VersionRestoringAdmin, DetailActions, ByRole, ReadOnlyAdmin):
    list_display = ("__str__", "made", "author")
    list_select_related = ("author",)
    search_fields = ("flow_name",)
    fields = ("flow", "number", "keep", "made", "author")
    readonly_fields = ("made",)
    inlines = (StepVersionInline,)
    change_form_before_template = "admin/flows/flowversion/changes.html"
    actions_detail = ("restore",)

    @admin.display(description="saved", ordering="created_at")
    def made(self, version: FlowVersion) -> str:
        return shown_time(version.created_at)

    def seen(self, request: HttpRequest) -> Q | None:
        rights = rights_of(request)
        return None if rights[None] else Q(flow__in=flows_with(rights, set(Right.values)))

    def flow_of(self, obj: FlowVersion) -> int | None:
        return obj.flow_id

    def offered(self, obj: FlowVersion) -> tuple[str, ...]:
        return () if obj.flow is None or is_current(obj) else ("restore",)

    def has_restore_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        version = self.get_object(request, str(object_id)) if object_id else None
        if version is None or version.flow is None:
            return False
        rights = StepRights(request, version.flow)
        return rights.may_add and rights.may_change and rights.may_remove

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        version = context["original"]
        before = version_before(version)
        if before is not None:
            context["before"] = before
            own = with_steps(FlowVersion.objects.filter(pk=version.pk)).get()
            seen = {
                step.name
                for step in own.steps.all()
                if may_view(request, ScriptVersion, step.script_version)
            }
            context["changes"] = [
                each if each.step in seen else replace(each, url="")
                for each in changes_since(before, own)
            ]
        context["is_current"] = is_current(version)
        return super().render_change_form(request, context, *args, **kwargs)

    @asking(
        dialog(
            "Restore the steps of {obj}?",
            "The flow gets the steps, their order, queues, threads, joins and kept payloads of this"
            " version, as a new version. It may start no flow that it may not start now. Scripts"
            " keep their present code: restore one on its own page. Runs that are under way keep"
            " their version.",
            "Restore",
        ),
        description="Restore this version",
        icon="history",
        permissions=["restore"],
        variant=ActionVariant.PRIMARY,
    )
    def restore(self, request: HttpRequest, form: forms.Form, object_id: str) -> HttpResponse:
        version = get_object_or_404(self.get_queryset(request), pk=object_id)
        if hidden := scripts_out_of_reach(request.user, version):
            note = f"Not restored: {hidden} of its scripts are of flows that you may not configure."
            self.message_user(request, note, messages.ERROR)
            return leave_dialog(page_of(version))
        if version.flow is not None and missing_parts(version):
            return leave_dialog(reverse("admin:flows_flowversion_restore_with", args=[version.pk]))
        try:
            restored = restore_steps(version, request.user)
        except Flow.DoesNotExist:
            self.message_user(request, "Its flow was removed.", messages.ERROR)
            return leave_dialog(page_of(version))
        except ValidationError as error:
            note = f"Not restored. {' '.join(error.messages)}"
            self.message_user(request, note, messages.ERROR)
            return leave_dialog(page_of(version))
        note = f"Restored: version {restored.number} has the steps of version {version.number}."
        self.message_user(request, note, messages.SUCCESS)
        for left_out in starts_left_out(version, restored):
            self.message_user(request, left_out, messages.WARNING)
        return leave_dialog(f"{page_of(restored.flow)}" if restored.flow else page_of(version))


def is_current(version: FlowVersion) -> bool:
    return not FlowVersion.objects.filter(flow=version.flow_id, number__gt=version.number).exists()

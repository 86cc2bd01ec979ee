"""Import and export of the configuration, with what an import would change shown before."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.sites import UnfoldAdminSite
from unfold.widgets import UnfoldBooleanWidget

from flows.access import audit
from flows.configuration import (
    Change,
    Changes,
    ConfigurationInvalid,
    export_configuration,
    export_flows,
    import_configuration,
    read_document,
    write_document,
)
from flows.models import Flow
from flows.monitoring.impact import TouchedFlow, touched
from scripts.admin.diff import Diff, TimeLeft, diff_of_fields
from scripts.admin.json_fields import CodeWidget

if TYPE_CHECKING:
    from unfold.admin import ModelAdmin as Base
else:
    Base = object

# The second page sends the document as a text of a form, and a form may have 16 MB.
MOST_BYTES = 8 * 1024 * 1024
# For all texts of a page together.
DIFF_SECONDS = 2.0
MOST_FAULTS = 200
TITLES = {
    "inputSchema": "Input schema",
    "outputSchema": "Output schema",
    "timeoutSeconds": "Time limit in seconds",
    "memoryMb": "Memory (MB)",
    "pollingMs": "Polling in milliseconds",
    "maxDeliveries": "Deliveries at the most",
    "maxWaitSeconds": "Longest wait in seconds",
    "rateLimit": "Rate limit",
    "retentionDays": "Runs are kept for days",
    "maxAgeSeconds": "Age limit in seconds",
    "archive": "Archive of purged runs",
    "webhookUrl": "Webhook",
    "privateWebhooks": "Webhooks to private addresses",
    "startRate": "Start rate",
    "allowedHosts": "Allowed hosts",
    "privateAddresses": "Private addresses",
    "inTransaction": "In a transaction",
    "alertThresholds": "Alert thresholds",
    "queueFullPercent": "Queue nearly full, percent",
    "standingStillSeconds": "Queue standing still, seconds",
    "oldestAgeSeconds": "Oldest message, seconds",
    "newDeadLetters": "New dead letters",
    "failedRuns": "Failed runs",
    "failedPercent": "Failed share, percent",
    "failedFactor": "Failing more, times",
    "criticalFailedPercent": "Critical failed share, percent",
    "workersGoneSeconds": "Workers gone, seconds",
    "addressSecret": "Secret with the address",
    "quietSeconds": "Quiet time in seconds",
    "repeatSeconds": "Repeated after seconds",
    "tellsEnd": "Tells the end",
}
ICONS = {
    "library": "library_books",
    "script": "code",
    "queue": "stacks",
    "table": "table",
    "flow": "account_tree",
    "role": "groups",
    "alert target": "campaign",
    "alert thresholds": "speed",
}


def may_transfer(request: HttpRequest) -> bool:
    """Whether the user may import: a document changes roles as well, so superusers alone."""
    return bool(request.user.is_active and getattr(request.user, "is_superuser", False))


class ConfigurationUrls(Base):
    """Gives an admin class the addresses of both pages."""

    def get_urls(self) -> list[URLPattern]:
        def view(address: str, view: Any, name: str) -> URLPattern:
            made = self.admin_site.admin_view(view)
            return path(address, made, {"site": self.admin_site}, f"flows_configuration_{name}")

        return [
            view("import/", import_view, "import"),
            view("export/", export_view, "export"),
            *super().get_urls(),
        ]


class ImportForm(forms.Form):
    file = forms.FileField(
        required=False,
        label="File",
        allow_empty_file=True,
        help_text="A JSON document of this product, or an export of the original one.",
    )
    document = forms.CharField(
        required=False,
        strip=False,
        widget=CodeWidget(rows=14),
        help_text="Or paste the document here.",
    )
    prune = forms.BooleanField(
        required=False,
        label="Remove what the document does not name",
        widget=UnfoldBooleanWidget(),
        help_text="Only in those sections that the document has. A queue with messages and a flow"
        " with unfinished runs cannot be removed.",
    )
    # The state and the changes that the user has seen.
    seen = forms.CharField(required=False, widget=forms.HiddenInput())

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}
        if file := data.get("file"):
            data["raw"] = file.read(MOST_BYTES + 1)
        else:
            data["raw"] = data.get("document", "").encode("utf-8", "surrogatepass")
        if len(data["raw"]) > MOST_BYTES:
            self.add_error(None, f"The document is larger than {MOST_BYTES // 1024**2} MB.")
        if not data["raw"].strip():
            self.add_error(None, "Choose a file or paste a document.")
        return data


# --- import ------------------------------------------------------------------------------------


def import_view(request: HttpRequest, site: UnfoldAdminSite) -> HttpResponse:
    if not may_transfer(request):
        raise PermissionDenied
    if request.method != "POST":
        return _import_page(request, site, ImportForm())
    form = ImportForm(request.POST, request.FILES)
    if "_edit" in request.POST:
        shown = {name: request.POST.get(name, "") for name in ("document", "prune")}
        return _import_page(request, site, ImportForm(initial=shown))
    if not form.is_valid():
        return _import_page(request, site, form)
    try:
        return _import(request, site, form)
    except ConfigurationInvalid as error:
        faults = error.errors or [{"path": "", "detail": str(error)}]
        text = form.cleaned_data["raw"].decode("utf-8", "replace")
        form = ImportForm(initial={"document": text, "prune": form.cleaned_data["prune"]})
        return _import_page(request, site, form, faults=faults[:MOST_FAULTS], count=len(faults))


def _import(request: HttpRequest, site: UnfoldAdminSite, form: ImportForm) -> HttpResponse:
    """Show what would change; apply it if the user has seen just that. Raises
    ConfigurationInvalid.
    """
    data = form.cleaned_data
    document, prune, seen = read_document(data["raw"]), data["prune"], data["seen"]
    with transaction.atomic(), audit.acting("import", user=request.user):
        changes = import_configuration(document, prune=prune, author=request.user)
        print_now = fingerprint(document, prune, changes)
        is_wanted = bool(changes) and print_now == seen
        transaction.set_rollback(not is_wanted)
    if not is_wanted:
        return _changes_page(request, site, form, changes, print_now)
    counts = ", ".join(
        f"{len(changes.of(each))} {each}" for each in ("added", "changed", "removed")
    )
    messages.success(request, f"The document was imported: {counts}.")
    return redirect(reverse("admin:flows_flow_changelist"))


def fingerprint(document: Any, prune: bool, changes: Changes) -> str:
    """Return a digest of a document and of all that it changes, entries before and after."""
    entries = [[each.kind, each.name, each.old, each.new] for each in changes.items]
    text = json.dumps([document, prune, entries], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _import_page(
    request: HttpRequest, site: UnfoldAdminSite, form: ImportForm, **more: Any
) -> HttpResponse:
    context = _context(request, site, "Import", form=form, **more)
    return TemplateResponse(request, "admin/flows/configuration/import.html", context)


def _changes_page(
    request: HttpRequest, site: UnfoldAdminSite, form: ImportForm, changes: Changes, seen: str
) -> HttpResponse:
    data = form.cleaned_data
    time_left = TimeLeft(DIFF_SECONDS)
    confirm = {
        "document": data["raw"].decode("utf-8-sig", "replace"),
        "prune": "on" if data["prune"] else "",
        "seen": seen,
    }
    context = _context(
        request,
        site,
        "Import",
        changes=[_shown(change, time_left) for change in changes.items],
        counts=_counts(changes),
        impact={"flows": _touched(changes)},
        warnings=changes.warnings,
        confirm=confirm,
        was_other=bool(data["seen"]),
    )
    return TemplateResponse(request, "admin/flows/configuration/changes.html", context)


def _counts(changes: Changes) -> list[tuple[str, int]]:
    return [(action, len(changes.of(action))) for action in ("added", "changed", "removed")]


def _touched(changes: Changes) -> list[TouchedFlow]:
    """Return the flows in use that are changed or removed, themselves or what their steps use."""
    old: defaultdict[str, list[str]] = defaultdict(list)
    for change in changes.items:
        if change.old is not None:
            old[change.kind].append(change.name)
    found = Flow.objects.filter(
        Q(name__in=old["flow"])
        | Q(steps__queue__name__in=old["queue"])
        | Q(steps__script__name__in=old["script"])
        | Q(steps__script__library_uses__library__name__in=old["library"])
    )
    return [flow for flow in touched(found.distinct().order_by("name")) if flow.is_in_use]


def _lost(change: Change) -> str:
    """Say which steps a flow loses, and what it does without any."""
    if change.kind != "flow" or change.old is None or change.new is None:
        return ""
    kept = {step["name"] for step in change.new["steps"]}
    lost = [step["name"] for step in change.old["steps"] if step["name"] not in kept]
    if not lost:
        return ""
    refuses = "" if kept else " It has none then, and refuses every start."
    return f"It loses the steps {', '.join(lost)}.{refuses}"


def _shown(change: Change, time_left: TimeLeft) -> dict[str, Any]:
    return {
        "action": change.action,
        "kind": change.kind,
        "icon": ICONS[change.kind],
        "name": change.name,
        "diff": diff_of_entries(change, time_left),
        "lost": _lost(change),
        # What comes is to be read as well as what changes.
        "is_open": change.action != "removed",
    }


def diff_of_entries(change: Change, time_left: TimeLeft) -> Diff:
    old, new = _flat(change.old), _flat(change.new)
    if change.action != "changed":
        # A whole entry has many empty fields, which tell nothing.
        old, new = ({k: v for k, v in each.items() if v not in ("", [], {})} for each in (old, new))
    return diff_of_fields(old, new, TITLES, time_left)


def _flat(entry: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the entry with its steps as lines, and without its name."""
    values = {key: value for key, value in (entry or {}).items() if key != "name"}
    if "steps" in values:
        values["steps"] = "".join(f"{_step_line(step)}\n" for step in values["steps"])
    return values


def _step_line(step: Mapping[str, Any]) -> str:
    join = ", waits for all branches" if step.get("join") else ""
    ways = f", goes to {', '.join(step['goesTo'])}" if step.get("goesTo") else ""
    return (
        f"{step['name']}: script {step['script']}, queue {step['queue']},"
        f" threads {step['threads']}{join}{ways}"
    )


# --- export ------------------------------------------------------------------------------------


def export_view(request: HttpRequest, site: UnfoldAdminSite) -> HttpResponse:
    if not may_transfer(request):
        raise PermissionDenied
    names = list(Flow.objects.order_by("name").values_list("name", flat=True))
    chosen = [name for name in request.GET.getlist("flow") if name in set(names)]
    text = write_document(export_flows(chosen) if chosen else export_configuration())
    if "download" in request.GET:
        response = HttpResponse(text, content_type="application/json")
        response["Content-Disposition"] = f'attachment; filename="{_file_name(chosen)}"'
        return response
    context = _context(
        request, site, "Export", flows=[(name, name in chosen) for name in names], text=text
    )
    return TemplateResponse(
        request, "admin/flows/configuration/export.html", context | {"chosen": chosen}
    )


def _file_name(chosen: list[str]) -> str:
    # Of the characters that a name may have, these are safe in a header and in a file system.
    if len(chosen) == 1 and all(c.isascii() and (c.isalnum() or c in "-_.") for c in chosen[0]):
        return f"{chosen[0]}.json"
    return "flows.json" if chosen else "configuration.json"


def _context(
    request: HttpRequest, site: UnfoldAdminSite, title: str, **more: Any
) -> dict[str, Any]:
    pages = [
        (name, reverse(f"admin:flows_configuration_{name.lower()}"), name == title)
        for name in ("Import", "Export")
    ]
    return {**site.each_context(request), "title": title, "pages": pages, **more}

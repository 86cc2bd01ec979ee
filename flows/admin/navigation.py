"""The sidebar: the engine's groups by purpose, then a group for each app of the project."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import escape
from django_q.models import Failure, OrmQ, Schedule, Success
from knox.models import get_token_model

from flows.access.rights import dead_letters_seen
from flows.admin.by_role import may_view
from flows.admin.configuration import may_transfer
from flows.admin.display import list_of
from flows.front.documentation import documentation
from flows.models import (
    Alert,
    AlertTarget,
    AlertThresholds,
    AuditEntry,
    Consumer,
    DeadLetter,
    Flow,
    FlowSchedule,
    FlowState,
    FlowVersion,
    Queue,
    Reprocessing,
    RoleMapping,
    Run,
    WebhookDelivery,
)
from scripts.admin.site import site
from scripts.models import (
    ConfigurationValue,
    Library,
    ReferenceTable,
    Script,
    ScriptVersion,
    Secret,
    TableVersion,
    TrialRecord,
)

MOST_ON_A_BADGE = 99
ENGINE = frozenset({"flows", "scripts"})

User = get_user_model()


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the engine's groups, then one for each app with other models on the site."""
    groups = own_groups(request)
    for group in groups:
        # A project may have unregistered a model.
        group["items"] = [each for each in group["items"] if is_there(each)]
    shown = {each["model"] for group in groups for each in group["items"] if "model" in each}
    found = groups + project_groups(request, shown)
    # The header says in which group a page is.
    request.menu_groups = found  # type: ignore[attr-defined]
    return found


def is_there(item: dict[str, Any]) -> bool:
    return "model" not in item or site.is_registered(item["model"])


def own_groups(request: HttpRequest) -> list[dict[str, Any]]:
    home = reverse("admin:index")
    return [
        {
            "items": [
                {
                    "title": "Home",
                    "icon": "home",
                    "link": home,
                    "active": request.path == home,
                },
                *documentation_item(),
            ]
        },
        configuration(request),
        {
            "title": "Operation",
            "separator": True,
            "items": [
                item(request, "Runs", "play_circle", Run),
                item(request, "Dead letters", "report", DeadLetter)
                | open_dead_letters_badge(request),
                item(request, "Reprocessings", "replay", Reprocessing),
                item(request, "Webhooks", "webhook", WebhookDelivery),
                item(request, "Alerts", "notifications_active", Alert),
            ],
        },
        roles_and_users(request),
        {
            "title": "Engine",
            "separator": True,
            "items": [
                item(request, "Consumers", "memory", Consumer),
                item(request, "Scheduled tasks", "schedule", Schedule),
                item(request, "Queued tasks", "pending_actions", OrmQ),
                item(request, "Successful tasks", "task_alt", Success),
                item(request, "Failed tasks", "error", Failure),
            ],
        },
    ]


def documentation_item() -> list[dict[str, Any]]:
    link = documentation()
    return [{"title": "Documentation", "icon": "menu_book", "link": link}] if link else []


def configuration(request: HttpRequest) -> dict[str, Any]:
    flows = item(request, "Flows", "account_tree", Flow, FlowVersion)
    transfer = page(request, "Import and export", "swap_vert", "flows_configuration_import")
    export = reverse("admin:flows_configuration_export")
    transfer["active"] = transfer["active"] or request.path.startswith(export)
    transfer["permission"] = may_transfer
    # Both pages have addresses below the list of flows.
    flows["active"] = flows["active"] and not transfer["active"]
    return {
        "title": "Configuration",
        "separator": True,
        "items": [
            flows,
            item(request, "Scripts", "code", Script, ScriptVersion),
            item(request, "Libraries", "library_books", Library),
            item(request, "Secrets", "lock", Secret),
            item(request, "Values", "tune", ConfigurationValue),
            item(request, "Tables", "table", ReferenceTable, TableVersion),
            item(request, "States", "save", FlowState),
            item(request, "Trials", "labs", TrialRecord),
            item(request, "Queues", "stacks", Queue),
            item(request, "Schedules", "event_repeat", FlowSchedule),
            item(request, "Alert targets", "campaign", AlertTarget),
            item(request, "Alert thresholds", "speed", AlertThresholds),
            transfer,
        ],
    }


def roles_and_users(request: HttpRequest) -> dict[str, Any]:
    mappings = item(request, "Role mappings", "key", RoleMapping)
    matrix = page(request, "Matrix of rights", "grid_on", "flows_rolemapping_matrix")
    matrix["permission"] = mappings["permission"]
    # The matrix has an address below the list.
    mappings["active"] = mappings["active"] and not matrix["active"]
    return {
        "title": "Roles and users",
        "separator": True,
        "items": [
            item(request, "Users", "person", User),
            item(request, "Roles", "groups", Group),
            mappings,
            matrix,
            item(request, "API tokens", "vpn_key", get_token_model()),
            item(request, "Audit log", "history", AuditEntry),
        ],
    }


def item(
    request: HttpRequest, title: str, icon: str, model: type[models.Model], *parts: type
) -> dict[str, Any]:
    """Return a link to a list; it is active on the pages of the model and of its parts."""
    parts = (model, *parts)
    found = [list_of(each) for each in parts if site.is_registered(each)]
    return {
        "title": title,
        "icon": icon,
        "model": model,
        "link": found[0] if found else "",
        "active": any(request.path.startswith(each) for each in found),
        "permission": lambda request: may_view(request, model),
    }


def page(request: HttpRequest, title: str, icon: str, name: str) -> dict[str, Any]:
    """Return a link to a page that is no list."""
    link = reverse(f"admin:{name}")
    return {"title": title, "icon": icon, "link": link, "active": request.path == link}


def project_groups(request: HttpRequest, shown: set[type]) -> list[dict[str, Any]]:
    """Return a group for each app with the models that the user may view, change or add."""
    labels = {
        model._meta.app_label
        for model in apps.get_models()
        if model not in shown and site.is_registered(model)
    }
    groups = []
    for label in labels - ENGINE:
        for found in site.get_app_list(request, app_label=label):
            others = [each for each in found["models"] if each["model"] not in shown]
            items = [project_item(request, each) for each in others]
            groups.append({"title": found["name"], "separator": True, "items": items})
    return sorted(
        [group for group in groups if group["items"]], key=lambda group: str(group["title"]).lower()
    )


def project_item(request: HttpRequest, model: dict[str, Any]) -> dict[str, Any]:
    link = model["admin_url"] or model["add_url"]
    return {
        # The sidebar takes titles as HTML.
        "title": escape(model["name"]),
        "icon": "table_rows",
        "link": link,
        "active": request.path.startswith(link),
    }


def open_dead_letters_badge(request: HttpRequest) -> dict[str, str]:
    if not may_view(request, DeadLetter):
        return {}
    found = dead_letters_seen(request.user).order_by()[: MOST_ON_A_BADGE + 1]
    count = found.count()
    if not count:
        return {}
    text = str(count) if count <= MOST_ON_A_BADGE else f"{MOST_ON_A_BADGE}+"
    return {"badge": text, "badge_variant": "danger"}

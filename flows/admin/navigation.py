"""The sidebar, grouped as a person thinks of the system."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django_q.models import Failure, OrmQ, Schedule, Success
from knox.models import AuthToken

from flows.admin.by_role import may_view
from flows.admin.display import list_of
from flows.models import (
    Consumer,
    DeadLetter,
    Flow,
    FlowVersion,
    Queue,
    Reprocessing,
    RoleMapping,
    Run,
)
from flows.rights import dead_letters_seen
from scripts.models import Library, Script, ScriptVersion, Secret, TrialRecord

MOST_ON_A_BADGE = 99

User = get_user_model()


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    dashboard = reverse("admin:index")
    return [
        {
            "items": [
                {
                    "title": "Dashboard",
                    "icon": "dashboard",
                    "link": dashboard,
                    "active": request.path == dashboard,
                },
            ]
        },
        {
            "title": "Configuration",
            "separator": True,
            "items": [
                item(request, "Flows", "account_tree", Flow, FlowVersion),
                item(request, "Scripts", "code", Script, ScriptVersion),
                item(request, "Libraries", "library_books", Library),
                item(request, "Secrets", "lock", Secret),
                item(request, "Trials", "labs", TrialRecord),
                item(request, "Queues", "stacks", Queue),
            ],
        },
        {
            "title": "Operation",
            "separator": True,
            "items": [
                item(request, "Runs", "play_circle", Run),
                item(request, "Dead letters", "report", DeadLetter)
                | open_dead_letters_badge(request),
                item(request, "Reprocessings", "replay", Reprocessing),
            ],
        },
        {
            "title": "Roles and users",
            "separator": True,
            "items": [
                item(request, "Users", "person", User),
                item(request, "Roles", "groups", Group),
                item(request, "Role mappings", "key", RoleMapping),
                item(request, "API tokens", "vpn_key", AuthToken),
            ],
        },
        {
            "title": "Engine",
            "separator": True,
            "items": [
                item(request, "Consumers", "memory", Consumer),
                item(request, "Schedules", "schedule", Schedule),
                item(request, "Queued tasks", "pending_actions", OrmQ),
                item(request, "Successful tasks", "task_alt", Success),
                item(request, "Failed tasks", "error", Failure),
            ],
        },
    ]


def item(
    request: HttpRequest, title: str, icon: str, model: type[models.Model], *parts: type
) -> dict[str, Any]:
    """Return a link to a list; it is active on the pages of the model and of its parts."""
    return {
        "title": title,
        "icon": icon,
        "link": list_of(model),
        "active": any(request.path.startswith(list_of(each)) for each in (model, *parts)),
        "permission": lambda request: may_view(request, model),
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

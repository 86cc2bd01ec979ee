"""What a project with settings of its own has to have in them; `check` names what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string

BROKER = "flows.worker.broker.QueueBroker"

# The first of each pair stands before the second, and why.
ORDER = (
    ("flows", "unfold", "its pages are unfold's instead of those of the Configuration Manager"),
    ("flows", "django_q", "`qcluster` is django-q2's, which does not survive kills"),
    ("unfold", "django.contrib.admin", "its pages are Django's and not unfold's"),
)

# And what is missing without each.
MIDDLEWARE = {
    "flows.api.middleware.ProblemMiddleware": "errors of the API are pages and no problem+json",
    "flows.public_address.PublicAddressMiddleware": "ASYNCENGINE_URL and proxies do not count",
    "flows.api.middleware.TextMiddleware": "texts that no database can hold are errors 500",
    "flows.content_policy.ContentPolicyMiddleware": "pages have no Content-Security-Policy",
    "simple_history.middleware.HistoryRequestMiddleware": "histories do not name the user",
    "flows.admin.malformed.MalformedMiddleware": "malformed addresses of pages are errors 500",
}


@register()
def apps_stand_in_their_order(**kwargs: Any) -> list[CheckMessage]:
    places = {config.name: place for place, config in enumerate(apps.get_app_configs())}
    return [
        Error(
            f"{second} stands before {first} in INSTALLED_APPS: {consequence}.",
            hint="Take the order of asyncengine.settings.INSTALLED_APPS.",
            id="flows.E005",
        )
        for first, second, consequence in ORDER
        if first in places and second in places and places[first] > places[second]
    ]


@register()
def workers_ask_the_broker_of_flows(**kwargs: Any) -> list[CheckMessage]:
    if _is_a(getattr(settings, "Q_CLUSTER", {}).get("broker_class"), BROKER):
        return []
    return [
        Error(
            f"Q_CLUSTER has no broker_class {BROKER!r}: no flow is worked on.",
            hint="Begin with asyncengine.settings.Q_CLUSTER and change what is yours.",
            id="flows.E006",
        )
    ]


@register()
def middleware_is_there(**kwargs: Any) -> list[CheckMessage]:
    return list(_missing_middleware())


def _missing_middleware() -> Iterator[CheckMessage]:
    for name, consequence in MIDDLEWARE.items():
        if not any(_is_a(each, name) for each in settings.MIDDLEWARE):
            yield Warning(
                f"MIDDLEWARE leaves out {name}: {consequence}.",
                hint="Put it where asyncengine.settings.MIDDLEWARE has it.",
                id="flows.W011",
            )


def _is_a(path: Any, name: str) -> bool:
    """Tell whether a path of the settings names this class, or one of the project's made of it."""
    if path == name:
        return True
    try:
        found, wanted = import_string(path), import_string(name)
    except (ImportError, AttributeError, TypeError):
        # Who uses it says so.
        return False
    # Some middleware is a function.
    is_class = isinstance(found, type) and isinstance(wanted, type)
    return is_class and issubclass(found, wanted)

"""Adds the engine to a project that has settings, pages and users of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# Those of the project answer for them; the rest of the engine's is for its own requests alone.
OUTSIDE = (
    "flows.front.public_address.",
    "django.middleware.security.",
    "whitenoise.",
    "django.contrib.",
)


def settings_for(project: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a project needs beside its own, which are given by name.

    At the end of its settings: `globals().update(settings_for(globals()))`.
    """
    from asyncengine import environment

    # Processes of a project start in any directory.
    environment.VAR_DIR = environment.data_directory(
        Path(project.get("BASE_DIR", environment.BASE_DIR)), project.get("ASYNCENGINE_DATA_DIR", "")
    )
    from asyncengine import engine

    apps = with_apps(project.get("INSTALLED_APPS", ()), engine.INSTALLED_APPS)
    added = [app for app in apps if app not in project.get("INSTALLED_APPS", ())]
    own = {name: value for name, value in vars(engine).items() if name.startswith("ASYNCENGINE_")}
    own |= {
        "ASYNCENGINE_MIDDLEWARE": [
            name for name in engine.MIDDLEWARE if not name.startswith(OUTSIDE)
        ],
        "ASYNCENGINE_REST_FRAMEWORK": engine.REST_FRAMEWORK,
        "ASYNCENGINE_SPECTACULAR_SETTINGS": {
            name: value
            for name, value in engine.SPECTACULAR_SETTINGS.items()
            if not name.startswith("SERVE_")
        },
        "ASYNCENGINE_UNFOLD": engine.UNFOLD,
        "ASYNCENGINE_DIRECT_DATABASE": environment.direct_database(
            environment.env_text("DATABASE_DIRECT_URL", ""),
            project["DATABASES"]["default"]["ENGINE"],
        ),
        "REST_KNOX": engine.REST_KNOX,
        "SECRET_KEY_IS_KEPT": False,
        "UNKNOWN_VARIABLES": engine.UNKNOWN_VARIABLES,
        "SECRETS_KEY_IS_KEPT": engine.SECRETS_KEY_IS_KEPT,
    }
    if "corsheaders" in added:
        own |= {name: value for name, value in vars(engine).items() if name.startswith("CORS_")}
    return {name: value for name, value in own.items() if name not in project} | {
        "ASYNCENGINE_MOUNTED": True,
        "ASYNCENGINE_ADDED_APPS": added,
        "ASYNCENGINE_REPLACED_BROKER": broker_of(project.get("Q_CLUSTER") or {}),
        "INSTALLED_APPS": apps,
        "TEMPLATES": [TEMPLATES, *project.get("TEMPLATES", ())],
        "Q_CLUSTER": with_broker(project.get("Q_CLUSTER"), engine.Q_CLUSTER),
    }


GOES_ON = (
    ("broker_class", "flows.worker.broker.QueueBroker"),
    ("broker_class", "flows.broker.QueueBroker"),
    ("orm", "default"),
)
# Django-q2 names its brokers by the settings that they need.
OTHER_BROKERS = ("iron_mq", "sqs", "mongo", "django_redis", "redis")

TEMPLATES = {
    "BACKEND": "flows.front.templates.EngineTemplates",
    "NAME": "asyncengine",
    "OPTIONS": {
        "context_processors": [
            "django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ],
    },
}


def with_apps(of_project: Iterable[str], of_engine: Iterable[str]) -> list[str]:
    """Return the project's apps, and behind them those of the engine that are missing.

    Behind them, since templates of the first app are taken. django_q goes to the end with them:
    `flows` has to stand before it, to replace its command `qcluster`.
    """
    apps = [app for app in of_project if app != "django_q"]
    return apps + [
        # The app by itself would replace the site of Django's admin.
        "unfold.apps.BasicAppConfig" if app == "unfold" else app
        for app in of_engine
        if not any(_is_it(each, app) for each in apps)
    ]


def _is_it(entry: str, app: str) -> bool:
    """Say whether an entry of INSTALLED_APPS is an app, or a configuration of it."""
    if entry == app or (entry.startswith(f"{app}.") and entry.endswith("Config")):
        return True
    return app == "django.contrib.admin" and entry.endswith("AdminConfig")


def broker_of(cluster: Mapping[str, Any]) -> str:
    """Return which broker a Q_CLUSTER names that is neither ours nor one that ours goes on with."""
    for name in ("broker_class", *OTHER_BROKERS, "orm"):
        value = cluster.get(name)
        if value and (name, value) not in GOES_ON:
            # The addresses of the others may have a password.
            return f"{name} {value!r}" if name in ("broker_class", "orm") else name
    return ""


def with_broker(of_project: Mapping[str, Any] | None, of_engine: dict[str, Any]) -> dict[str, Any]:
    """Return the Q_CLUSTER of the project, with the engine's broker and workers for flows.

    A project that has used django-q2 before goes on with as many workers for its own tasks.
    """
    if of_project is None:
        return of_engine
    tasks = of_project.get("workers", of_engine["task_workers"])
    by_default = {name: of_engine[name] for name in ("bound_queues_only", "guard_cycle")}
    own = {"ALT_CLUSTERS": {}, **by_default, **of_project}
    if "task_workers" not in own:
        of_flows = {name: of_engine[name] for name in ("workers", "max_workers")}
        own |= {**of_flows, "task_workers": tasks}
    return own | {name: of_engine[name] for name in ("broker_class", "orm", "poll")}

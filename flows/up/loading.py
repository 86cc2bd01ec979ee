"""Loads what the processes of `manage.py up` share. It makes no thread and leaves no connection."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module

import django
from django.db import connections
from django.urls import get_resolver

from scripts.host.forks import prepare_for_forks

# Libraries that import others where these are installed, for commands, tests, pages and fields that
# the engine does not have: a tenth of what is loaded.
_WITHOUT_MORE = ("rest_framework.compat", "unfold.overrides", "django.test.utils")
_MORE = ("jinja2", "markdown", "pygments", "requests", "rich")
# Brings along the library of PostgreSQL.
_POSTGRESQL_FIELDS = "django.contrib.postgres.fields"
# Python adapts code that has run eight times.
_ADAPTED_AFTER = 10


@cache
def load_web() -> None:
    """Load the web server, where the process that this one is forked from has not."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
    has_postgresql = any(each.vendor == "postgresql" for each in connections.all())
    with _missing(_MORE if has_postgresql else (*_MORE, _POSTGRESQL_FIELDS)):
        for name in _WITHOUT_MORE:
            import_module(name)
    django.setup()
    # The addresses of all pages, too, as the first link makes them.
    _ = get_resolver().reverse_dict
    for name in ("asyncengine.asgi", "granian.cli", "uvloop"):
        import_module(name)
    # After the set-up alone.
    from flows.store import store

    _ = store()
    _make_queries()
    # What a project reads as it is loaded opens one, and all forks would talk on it.
    connections.close_all()
    prepare_for_forks()


def load_all() -> None:
    """Load the cluster, too."""
    load_web()
    for name in ("flows.management.commands.qcluster", "flows.worker.worker"):
        import_module(name)
    prepare_for_forks()


def _make_queries() -> None:
    """Have Python adapt the code that makes queries, as it does when code has run some times.

    It writes to the code, so each process would copy the pages of it. Nothing is asked.
    """
    from flows.models import Flow, Queue, Step

    for _ in range(_ADAPTED_AFTER):
        for rows in (
            Flow.objects.filter(steps__queue__name=""),
            Queue.objects.filter(pk=1),
            Step.objects.filter(flow__name="", queue__size__lt=1).select_related("flow"),
        ):
            rows = rows.filter(pk__lt=2).exclude(pk__in=[1, 2])
            _ = str(rows.query), str(rows.order_by("pk").values_list("pk")[:1].query)


@contextmanager
def _missing(modules: tuple[str, ...]) -> Iterator[None]:
    """Have imports of these fail meanwhile, as if they were not installed."""
    hidden = [name for name in modules if name not in sys.modules]
    # This is how the import system notes that there is no such module.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]

"""Loads what the processes of `manage.py up` share. It makes no thread and no connection."""

from __future__ import annotations

import os
from importlib import import_module

import django
from django.urls import get_resolver

from scripts.host.forks import prepare_for_forks


def load_web() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
    django.setup()
    _ = get_resolver().url_patterns
    import_module("asyncengine.asgi")
    import_module("granian.cli")
    prepare_for_forks()


def load_all() -> None:
    """Load the cluster, too."""
    load_web()
    import_module("flows.management.commands.qcluster")
    prepare_for_forks()

"""The web server of `manage.py up`: granian, with the project loaded before it forks.

Its processes share what is loaded, and one that is started again answers at once.
"""

import multiprocessing
import os
from importlib import import_module

import django
from django.urls import get_resolver
from granian.cli import entrypoint

from scripts.host.forks import prepare_for_forks


def load() -> None:
    """Load all modules; nothing that a fork cannot take along: no thread and no connection."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
    django.setup()
    _ = get_resolver().url_patterns
    import_module("asyncengine.asgi")
    prepare_for_forks()


if __name__ == "__main__":
    # Python 3.14 has another default.
    multiprocessing.set_start_method("fork")
    load()
    entrypoint()

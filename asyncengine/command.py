"""The command `asyncengine`: what `manage.py` is in a checkout."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run a management command with the settings in DJANGO_SETTINGS_MODULE, or the engine's own."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"{error}")


def installed() -> None:
    """Run a management command of the project in this directory: the script that pip installs."""
    # As with `manage.py`, modules beside it are found: settings, callables, urls.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    main()

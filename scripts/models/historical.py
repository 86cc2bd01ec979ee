"""Where the historical models of an app are, as their classes say it."""

from __future__ import annotations

from django.apps import AppConfig


def correct_modules(app: AppConfig) -> None:
    """Have each historical model of an app name the module that it can be imported from.

    django-simple-history puts it beside its model, and writes the app's package down as its module,
    where there is none: `manage.py shell` could not import it, nor could a pickle.
    """
    for model in app.get_models():
        if original := getattr(model, "instance_type", None):
            model.__module__ = original.__module__

"""Corrects the modules that the classes of historical models name."""

from __future__ import annotations

from django.apps import AppConfig


def correct_modules(app: AppConfig) -> None:
    """Have each historical model of an app name the module that it can be imported from.

    django-simple-history puts the class beside its model, but names the app's package as its
    module. The class is not there, so neither `manage.py shell` nor a pickle could import it.
    """
    for model in app.get_models():
        if original := getattr(model, "instance_type", None):
            model.__module__ = original.__module__

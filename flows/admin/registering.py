"""Registers our classes for models of other apps."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.db.models import Model

from scripts.admin.site import IS_OWN, site


def replace_stock(model: type[Model], ours: type[ModelAdmin], stock: type[ModelAdmin]) -> None:
    """Register our class in place of Django's.

    A class of the project stays. A model that the project has unregistered stays unregistered. On
    a site of ours there is no other class.
    """
    if IS_OWN:
        site.register(model, ours)
    elif site.is_registered(model) and type(site.get_model_admin(model)) is stock:
        site.unregister(model)
        site.register(model, ours)


def is_brought_along(model: type[Model]) -> bool:
    """Say whether the pages of this model are the engine's alone.

    They are not where a project has had the app of the model before the engine.
    """
    added = getattr(settings, "ASYNCENGINE_ADDED_APPS", ())
    return not IS_OWN or model._meta.app_config.name in added


def unregister_stock(model: type[Model]) -> None:
    """Unregister the class that the app of the model has registered."""
    if is_brought_along(model) and admin.site.is_registered(model):
        admin.site.unregister(model)


def call(model: type[Model], words: str) -> None:
    """Have pages call an object of another app by these words. Migrations do not read them."""
    if is_brought_along(model):
        model._meta.verbose_name, model._meta.verbose_name_plural = words, f"{words}s"

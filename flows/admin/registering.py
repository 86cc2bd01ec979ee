"""Registers our classes for models of other apps."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.db.models import Model

from flows.access.words import is_brought_along
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


def unregister_stock(model: type[Model]) -> None:
    """Unregister the class that the app of the model has registered."""
    if is_brought_along(model) and admin.site.is_registered(model):
        admin.site.unregister(model)

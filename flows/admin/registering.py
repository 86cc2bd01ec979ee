"""Registers our class for a model unless the project has registered its own."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.db.models import Model


def replace_stock(model: type[Model], ours: type[ModelAdmin], stock: type[ModelAdmin]) -> None:
    """Register our class in place of Django's.

    A class of the project stays. A model that the project has unregistered stays unregistered.
    """
    if admin.site.is_registered(model) and type(admin.site.get_model_admin(model)) is stock:
        admin.site.unregister(model)
        admin.site.register(model, ours)

"""Which class the Configuration Manager has for a model that a project may have its own for."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.db.models import Model


def replace_stock(model: type[Model], ours: type[ModelAdmin], stock: type[ModelAdmin]) -> None:
    """Register our class in place of Django's.

    One of the project's own stays, and a model that the project has taken from the site is left
    out.
    """
    if admin.site.is_registered(model) and type(admin.site.get_model_admin(model)) is stock:
        admin.site.unregister(model)
        admin.site.register(model, ours)

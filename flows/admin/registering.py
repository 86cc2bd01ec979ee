"""Which class the Configuration Manager has for a model that a project may have its own for."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin import ModelAdmin
from django.db.models import Model


def register_unless_own(
    model: type[Model], ours: type[ModelAdmin], stock: type[ModelAdmin]
) -> None:
    """Register our class in place of Django's; one of the project's own stays."""
    if admin.site.is_registered(model):
        if type(admin.site.get_model_admin(model)) is not stock:
            return
        admin.site.unregister(model)
    admin.site.register(model, ours)

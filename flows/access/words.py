"""What the engine calls objects of other apps, on its pages and in the audit log."""

from __future__ import annotations

from django.apps import apps
from django.conf import settings
from django.db.models import Model
from knox.models import AuthToken, get_token_model

from flows.access.tokens import token_name

# Those of django-q2 as the menu has them.
WORDS = {
    "auth.Group": "role",
    "django_q.Failure": "failed task",
    "django_q.OrmQ": "queued task",
    "django_q.Schedule": "schedule",
    "django_q.Success": "successful task",
}


def is_brought_along(model: type[Model]) -> bool:
    """Say whether the pages of this model are the engine's alone.

    They are not where a project has had the app of the model before the engine.
    """
    added = getattr(settings, "ASYNCENGINE_ADDED_APPS", ())
    is_mounted = getattr(settings, "ASYNCENGINE_MOUNTED", False)
    return not is_mounted or model._meta.app_config.name in added


def install() -> None:
    """Have objects called by these words. Migrations do not read them."""
    for label, words in WORDS.items():
        _call(apps.get_model(label), words)
    token = get_token_model()
    token._meta.app_config.verbose_name = "API access"
    _call(token, "API token")
    # Pages of deletions, breadcrumbs and histories call an object by its text.
    if token is AuthToken:
        AuthToken.__str__ = token_name


def _call(model: type[Model], words: str) -> None:
    if is_brought_along(model):
        model._meta.verbose_name, model._meta.verbose_name_plural = words, f"{words}s"

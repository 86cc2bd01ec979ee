"""Makes the first superuser, with the user model of the project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import models, transaction

NAME, EMAIL = "admin", "admin@localhost"


class NoAdministrator(Exception):
    """No superuser was made: a required field has no default here, or the model refused a value."""


def make_administrator(password: str, given: Mapping[str, str]) -> str:
    """Make a superuser and return the name to log in with. Raises NoAdministrator.

    `given` has texts by field, as `createsuperuser` takes them. The name and the required
    fields that are not given get a default, if the field takes a text or may be empty.
    """
    model: Any = get_user_model()
    values = required_values(given)
    try:
        with transaction.atomic():
            user = model._default_manager.create_superuser(**values, password=password)
    except Exception as error:
        # The manager is the project's own and may raise anything. `up` starts without the user.
        raise NoAdministrator(f"{type(error).__name__}: {error}") from error
    return str(user.get_username())


def required_values(given: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of the fields that a user must have. Raises NoAdministrator."""
    model: Any = get_user_model()
    names = (model.USERNAME_FIELD, *model.REQUIRED_FIELDS)
    return {name: _value(model, name, given) for name in names}


def _value(model: Any, name: str, given: Mapping[str, str]) -> Any:
    field = model._meta.get_field(name)
    may_be_empty = field.has_default() or field.null or field.blank
    if name not in given and name != model.USERNAME_FIELD and may_be_empty:
        return field.get_default()
    text = given.get(name, _made_up(field))
    try:
        return field.clean(text, None)
    except ValidationError as error:
        raise NoAdministrator(
            f"DJANGO_SUPERUSER_{name.upper()} must be set: {' '.join(error.messages)}"
        ) from error


def _made_up(field: Any) -> Any:
    if isinstance(field, models.EmailField):
        return EMAIL
    if isinstance(field, models.CharField | models.TextField):
        return NAME[: field.max_length]
    return False if isinstance(field, models.BooleanField) else None


def has_no_superuser_without(users: Iterable[Any]) -> bool:
    """Say whether no active superuser is left without these users, and there is one among them."""
    model: Any = get_user_model()
    names = {field.name for field in model._meta.get_fields()}
    if not {"is_superuser", "is_active"} <= names:
        return False
    gone = [user.pk for user in users]
    active = model._base_manager.filter(is_superuser=True, is_active=True)
    is_among = active.filter(pk__in=gone).exists()
    return is_among and not active.exclude(pk__in=gone).exists()

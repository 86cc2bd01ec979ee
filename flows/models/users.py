"""Users of the project's own model, AUTH_USER_MODEL. Only fields that Django requires are used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from django.apps import apps
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.models import AbstractBaseUser, Group
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import connection
from django.db.models import Field, Model, QuerySet

from flows.models import Run

LONGEST_CALLER = 64
# The errors of a field for a text that is not a possible value.
VALUE_ERRORS = (ValueError, TypeError, ValidationError)


def user_name_field() -> str:
    """Return the field that users log in with."""
    return str(get_user_model().USERNAME_FIELD)


def all_users() -> QuerySet[Any]:
    """Return all users, also those that the model's default manager hides."""
    return get_user_model()._base_manager.all()


@cache
def members() -> str:
    """Return the query name that leads from roles to their users."""
    groups: Any = get_user_model()._meta.get_field("groups")
    return str(groups.related_query_name())


def has_members(role: Group) -> bool:
    return all_users().filter(groups=role.pk).exists()


def user_models() -> Iterator[type[Model]]:
    """Yield the user model and its subclasses: signals are sent by the class of the instance."""
    for model in apps.get_models():
        if issubclass(model, get_user_model()):
            yield model


# --- logins ------------------------------------------------------------------------------------


def user_named(name: str) -> Any:
    """Return the active user with the name, or None."""
    if "\0" in name:
        return None
    user = None
    with suppress(ObjectDoesNotExist), ignoring_impossible_name(name):
        user = get_user_model()._default_manager.get_by_natural_key(name)
    return user if user is not None and user.is_active else None


def user_with_password(request: Any, name: str, password: str) -> AbstractBaseUser | None:
    """Return the active user that one of AUTHENTICATION_BACKENDS accepts, or None.

    As on the login page, the name is passed as `username`, whatever field of the model it is in.
    """
    if "\0" in name:
        return None
    user = None
    with ignoring_impossible_name(name):
        user = authenticate(request, username=name, password=password)
    return user if user is not None and user.is_active else None


@contextmanager
def ignoring_impossible_name(name: str) -> Iterator[None]:
    """Ignore the error of a name that its field cannot store: no user has it."""
    try:
        yield
    except VALUE_ERRORS:
        if is_possible_name(name):
            raise


def is_possible_name(name: str) -> bool:
    field: Any = get_user_model()._meta.get_field(user_name_field())
    try:
        field.get_prep_value(name)
    except VALUE_ERRORS:
        return False
    return True


# --- keys of users in the engine's own tables --------------------------------------------------


def key_field() -> Field[Any, Any]:
    """Return a column of the engine that stores keys of users."""
    field: Field[Any, Any] = Run._meta.get_field("started_by")
    return field


def key_in_database(key: Any) -> Any:
    """Return a user's key as an SQL parameter or JSON value."""
    if key is None or type(key) is int:
        return key
    value = key_field().get_db_prep_save(key, connection)
    return value if isinstance(value, int | str | bytes) else str(value)


def caller_of(key: Any) -> str:
    """Return the text that stands for the user in an idempotency key; empty without a user."""
    text = "" if key is None else str(key)
    return text if len(text) <= LONGEST_CALLER else hashlib.sha256(text.encode()).hexdigest()

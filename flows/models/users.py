"""Users of whatever model the project has: AUTH_USER_MODEL is asked, and no field is taken for
granted that a model of one's own need not have."""

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
# What fields raise for a text that is no value of theirs.
MISFITS = (ValueError, TypeError, ValidationError)


def user_name_field() -> str:
    """Return the field by which users log in."""
    return str(get_user_model().USERNAME_FIELD)


def all_users() -> QuerySet[Any]:
    """Return every user, those included that the model's own manager may hide."""
    return get_user_model()._base_manager.all()


@cache
def members() -> str:
    """Return the name by which queries on roles reach their users."""
    groups: Any = get_user_model()._meta.get_field("groups")
    return str(groups.related_query_name())


def has_members(role: Group) -> bool:
    return all_users().filter(groups=role.pk).exists()


def user_models() -> Iterator[type[Model]]:
    """Yield the model of users and those that inherit it: signals name the one that is used."""
    for model in apps.get_models():
        if issubclass(model, get_user_model()):
            yield model


# --- logins ------------------------------------------------------------------------------------


def user_named(name: str) -> Any:
    """Return the active user whom the model finds by the name, None where there is none."""
    if "\0" in name:
        return None
    user = None
    with suppress(ObjectDoesNotExist), misfits_are_nobody(name):
        user = get_user_model()._default_manager.get_by_natural_key(name)
    return user if user is not None and user.is_active else None


def user_with_password(request: Any, name: str, password: str) -> AbstractBaseUser | None:
    """Return the active user for whom one of AUTHENTICATION_BACKENDS takes the password.

    The name is passed as the login page passes it, whatever field it is in.
    """
    if "\0" in name:
        return None
    user = None
    with misfits_are_nobody(name):
        user = authenticate(request, username=name, password=password)
    return user if user is not None and user.is_active else None


@contextmanager
def misfits_are_nobody(name: str) -> Iterator[None]:
    """Take the error of a name that its field cannot have, a number for one, as nobody's."""
    try:
        yield
    except MISFITS:
        if is_possible_name(name):
            raise


def is_possible_name(name: str) -> bool:
    field: Any = get_user_model()._meta.get_field(user_name_field())
    try:
        field.get_prep_value(name)
    except MISFITS:
        return False
    return True


# --- keys of users in the engine's own tables --------------------------------------------------


def key_field() -> Field[Any, Any]:
    """Return a column of the engine's that holds keys of users."""
    field: Field[Any, Any] = Run._meta.get_field("started_by")
    return field


def key_in_database(key: Any) -> Any:
    """Return a user's key as SQL parameters and JSON take it."""
    if key is None or type(key) is int:
        return key
    value = key_field().get_db_prep_save(key, connection)
    return value if isinstance(value, int | str | bytes) else str(value)


def caller_of(key: Any) -> str:
    """Return what names the user in an idempotency key; empty: no user."""
    text = "" if key is None else str(key)
    return text if len(text) <= LONGEST_CALLER else hashlib.sha256(text.encode()).hexdigest()

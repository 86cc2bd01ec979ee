"""A user made for one measurement, who starts runs by HTTP with a token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import models, transaction

from flows.access.administrator import NoAdministrator, required_values
from flows.access.tokens import make_token
from flows.benchmark.names import new_name
from flows.benchmark.waiting import BenchFailed
from flows.benchmark.workbench import Workbench
from flows.models import Flow, Right, RoleMapping


@dataclass(frozen=True)
class Caller:
    role: Group
    token: str

    def may_start(self, bench: Workbench) -> None:
        """Give the user the right to start the flow; it goes with the flow."""
        RoleMapping.objects.create(
            role=self.role, flow=Flow.objects.get(name=bench.name), right=Right.START
        )


@contextmanager
def caller() -> Iterator[Caller]:
    """Make a user with a role and a token, and remove them afterwards.

    Removed after its runs: they name it.
    """
    with transaction.atomic():
        user = make_user(new_name())
        role = Group.objects.create(name=str(user.get_username()))
        user.groups.add(role)
        token = make_token(user).text
    try:
        yield Caller(role, token)
    finally:
        user.delete()
        role.delete()


def make_user(name: str) -> Any:
    """Make a user without a password. Raises BenchFailed where the project's model refuses it."""
    model: Any = get_user_model()
    fields = {field.name: field for field in model._meta.concrete_fields}
    names = (model.USERNAME_FIELD, *model.REQUIRED_FIELDS)
    addresses = {each for each in names if isinstance(fields.get(each), models.EmailField)}
    given = dict.fromkeys(addresses, f"{name}@localhost")
    try:
        user = model(**required_values({model.USERNAME_FIELD: name} | given))
        user.set_unusable_password()
        user.save()
    except (NoAdministrator, ValueError, TypeError) as error:
        raise BenchFailed(f"no user could be made: {error}") from error
    return user

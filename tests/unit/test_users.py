"""Models of users of every kind: what their pages show, and what their keys become."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

import pytest
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AbstractUser, Group, Permission, PermissionsMixin, User
from django.db import models
from django.test.utils import isolate_apps

from flows.admin.user_fields import UserFields
from flows.checks.users import faults_of
from flows.models.users import LONGEST_CALLER, caller_of


@pytest.fixture(autouse=True)
def apart():
    with isolate_apps("django.contrib.auth", "django.contrib.contenttypes"):
        yield


def by_number() -> Any:
    class Badge(AbstractBaseUser, PermissionsMixin):
        number = models.CharField(primary_key=True, max_length=200)
        company = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="+")
        born_on = models.DateField()
        friends = models.ManyToManyField("self")
        sign_ins = models.PositiveIntegerField(default=0, editable=False)
        groups: Any = models.ManyToManyField(Group, related_name="badges")

        USERNAME_FIELD = "number"

        class Meta:
            app_label = "auth"

    return Badge


def bare() -> Any:
    class Bare(AbstractBaseUser):
        id = models.BigAutoField(primary_key=True)
        phone = models.BigIntegerField(unique=True)

        USERNAME_FIELD = "phone"

        class Meta:
            app_label = "auth"

    return Bare


def by_email() -> Any:
    class Member(AbstractUser):
        username: Any = None
        email = models.EmailField("e-mail", unique=True)
        groups: Any = models.ManyToManyField(Group, related_name="+")
        user_permissions: Any = models.ManyToManyField(Permission, related_name="+")

        USERNAME_FIELD = "email"
        REQUIRED_FIELDS: ClassVar[list[str]] = []

        class Meta:
            app_label = "auth"

    return Member


def fields_of(sections: Any) -> list[str]:
    return [name for _, options in sections for name in options["fields"]]


def test_the_page_of_a_user_has_every_field_that_can_be_changed():
    page = UserFields(by_number())

    assert fields_of(page.sections()) == [
        *("number", "password", "company", "born_on", "friends"),
        *("is_superuser", "groups", "user_permissions", "shown_last_login"),
    ]
    assert fields_of(page.sections_of_new()) == [
        *("number", "company", "born_on", "usable_password", "password1", "password2"),
    ]
    assert page.columns() == ("number", "roles", "is_superuser")
    assert page.searched() == ("number",)


def test_the_page_of_djangos_own_users_is_as_django_has_it():
    page = UserFields(User)

    assert fields_of(page.sections()) == [
        *("username", "password", "first_name", "last_name", "email"),
        *("is_active", "is_staff", "is_superuser", "groups", "user_permissions"),
        *("shown_last_login", "shown_date_joined"),
    ]
    assert fields_of(page.sections_of_new()) == [
        *("username", "usable_password", "password1", "password2")
    ]
    assert page.searched() == ("username", "first_name", "last_name", "email")


def test_a_model_of_djangos_without_user_names_has_a_page():
    page = UserFields(by_email())

    assert fields_of(page.sections())[:4] == ["email", "password", "first_name", "last_name"]
    assert fields_of(page.sections_of_new())[:2] == ["email", "usable_password"]
    assert page.columns() == ("email", "roles", "is_active", "is_staff", "is_superuser")
    assert page.searched() == ("email", "first_name", "last_name")


def test_a_model_without_flags_and_dates_has_a_page():
    page = UserFields(bare())

    assert fields_of(page.sections()) == ["phone", "password", "shown_last_login"]
    assert page.searched() == ()
    assert page.columns() == ("phone", "roles")


def test_a_model_without_roles_is_an_error_of_the_check():
    (fault,) = faults_of(bare())

    assert fault.id == "flows.E004"
    assert "lacks groups, user_permissions, is_superuser" in fault.msg


def test_a_model_whose_roles_do_not_lead_back_is_an_error_of_the_check():
    class OneWay(AbstractUser):
        groups: Any = models.ManyToManyField(Group, related_name="+")
        user_permissions: Any = models.ManyToManyField(Permission, related_name="+")

        class Meta:
            app_label = "auth"

    (fault,) = faults_of(OneWay)

    assert "lacks groups:" in fault.msg


def test_models_with_roles_pass_the_check():
    assert faults_of(User) == []


def test_the_caller_of_a_key_is_told_from_every_other():
    keys = [
        None,
        1,
        "1" * 64,
        "1" * 65,
        "1" * 255,
        "1" * 254 + "2",
        uuid.UUID(int=1),
        uuid.UUID(int=2),
    ]

    callers = [caller_of(key) for key in keys]

    assert len(set(callers)) == len(keys)
    assert max(map(len, callers)) <= LONGEST_CALLER
    assert callers[:3] == ["", "1", "1" * 64]

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone
from knox.models import AuthToken

from flows.access.tokens import make_token, tokens_of
from flows.errors import PasswordChanged, TooManyTokens

pytestmark = pytest.mark.django_db

OLD, NEW = "correct horse", "battery staple"


@pytest.fixture
def user() -> User:
    return User.objects.create_user("caller", password=OLD)


@pytest.fixture
def limit(settings) -> Any:
    def set_to(most: int) -> None:
        settings.REST_KNOX = settings.REST_KNOX | {"TOKEN_LIMIT_PER_USER": most}

    return set_to


def end_in(hours: float | None, user: User) -> str:
    expiry = None if hours is None else timedelta(hours=hours)
    return AuthToken.objects.create(user, expiry=expiry)[0].pk


def keys(user: User) -> set[str]:
    return set(tokens_of(user).values_list("pk", flat=True))


def set_password(user: User) -> None:
    user.set_password(NEW)
    user.save()


def set_password_alone(user: User) -> None:
    user.set_password(NEW)
    user.save(update_fields=["password"])


def set_hash(user: User) -> None:
    user.password = make_password(NEW)
    user.save()


def set_hash_alone(user: User) -> None:
    user.password = make_password(NEW)
    user.save(update_fields=["password"])


def make_unusable(user: User) -> None:
    user.set_unusable_password()
    user.save()


def deactivate(user: User) -> None:
    user.is_active = False
    user.save()


def deactivate_alone(user: User) -> None:
    user.is_active = False
    user.save(update_fields=["is_active"])


def activate_again(user: User) -> None:
    User.objects.update(is_active=False)
    user.save()


def by_command(user: User) -> None:
    with mock.patch("getpass.getpass", return_value=NEW):
        call_command("changepassword", user.username, stdout=io.StringIO())


@pytest.mark.parametrize(
    "change",
    [
        set_password,
        set_password_alone,
        set_hash,
        set_hash_alone,
        make_unusable,
        deactivate,
        deactivate_alone,
        activate_again,
        by_command,
    ],
)
def test_changed_credentials_revoke_all_tokens_of_the_user_alone(user, change):
    other = User.objects.create_user("other", password=OLD)
    for hours in (1, 1000, None):
        end_in(hours, user)
    others = end_in(None, other)

    change(user)

    assert list(AuthToken.objects.values_list("pk", flat=True)) == [others]


def save_all(user: User) -> None:
    user.save()


def rename(user: User) -> None:
    user.username = "renamed"
    user.save()


def log_in(user: User) -> None:
    user.last_login = timezone.now()
    user.save(update_fields=["last_login"])


@pytest.mark.parametrize("change", [save_all, rename, log_in])
def test_other_changes_of_a_user_revoke_nothing(user, change):
    token = end_in(1, user)

    change(user)

    assert keys(user) == {token}


def test_password_that_a_login_stores_by_a_stronger_hash_revokes_nothing(user, settings):
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]
    User.objects.update(password=make_password(OLD, hasher="md5"))
    token = end_in(1, user)

    assert authenticate(username="caller", password=OLD)

    user.refresh_from_db()
    assert user.password.startswith("pbkdf2_")
    assert keys(user) == {token}


def test_one_more_than_a_user_may_have_revokes_the_oldest_without_a_name(user, limit):
    limit(4)
    named = make_token(user, "billing").row.pk
    lasting, oldest, later = end_in(None, user), end_in(9, user), end_in(5, user)

    make_token(user)

    assert len(keys(user)) == 4
    assert {named, lasting, later} < keys(user)
    assert oldest not in keys(user)


def test_token_with_a_name_revokes_no_other(user, limit):
    limit(2)
    unnamed = {end_in(1, user), end_in(1, user)}

    with pytest.raises(TooManyTokens):
        make_token(user, "billing")

    assert keys(user) == unnamed


def test_tokens_with_names_are_never_revoked_for_a_new_one(user, limit):
    limit(2)
    named = {make_token(user, name).row.pk for name in ("a", "b")}

    with pytest.raises(TooManyTokens):
        make_token(user)

    assert keys(user) == named


def test_limit_that_was_lowered_revokes_one_token_for_each_new_one(user, limit):
    others = [end_in(1, user) for _ in range(4)][1:]
    limit(2)

    made = make_token(user).row.pk

    assert keys(user) == {*others, made}


def test_number_of_tokens_is_bounded_and_the_newest_are_good(user, limit):
    limit(5)

    for _ in range(20):
        make_token(user)

    newest = AuthToken.objects.order_by("-created")[:5]
    assert keys(user) == {token.pk for token in newest}


def test_expired_tokens_do_not_count(user, limit):
    limit(2)
    soonest = end_in(1, user)
    end_in(-1, user)

    make_token(user)

    assert len(keys(user)) == 2
    assert soonest in keys(user)


def test_tokens_without_an_end_are_never_revoked_for_a_new_one(user, limit):
    limit(2)
    lasting = {end_in(None, user), end_in(None, user)}

    with pytest.raises(TooManyTokens):
        make_token(user)

    assert keys(user) == lasting


def test_tokens_of_others_do_not_count(user, limit):
    limit(1)
    others = end_in(1, User.objects.create_user("other"))

    make_token(user)

    assert AuthToken.objects.filter(pk=others).exists()


@pytest.mark.parametrize("change", [set_password, deactivate])
def test_password_that_was_changed_meanwhile_makes_no_token(user, change):
    change(User.objects.get(pk=user.pk))

    with pytest.raises(PasswordChanged):
        make_token(user)

    assert not AuthToken.objects.exists()

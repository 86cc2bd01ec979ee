"""Bearer token, HTTP Basic or the admin's session. Results of costly checks are kept for
seconds."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user, get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import DEFAULT_DB_ALIAS
from django.db.models import F, Model, Q, Subquery, TextField
from django.db.models.functions import Cast, Now
from django.db.models.sql.compiler import SQLCompiler
from knox.auth import TokenAuthentication as KnoxTokenAuthentication
from knox.models import get_token_model
from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from flows.access.addresses import caller_network
from flows.access.rights import Caller
from flows.access.token_uses import token_uses
from flows.api.errors import Problem
from flows.api.logins import failed_logins
from flows.models import ConfigurationRevision
from flows.models.users import all_users, user_named, user_with_password
from flows.store import store

BASIC, BEARER = 'Basic realm="Async Engine"', "Bearer"
REMEMBER_SECONDS = 5.0
# Each process has its own key, so a digest in memory tells nothing about the secret.
DIGEST_KEY = secrets.token_bytes(32)


# Stands for a token's key in a statement that is kept.
PLACE = "its key"


class Memory:
    """Keeps values by a digest for `REMEMBER_SECONDS`, a limited number of them."""

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._values: dict[bytes, tuple[float, Any]] = {}

    def get(self, digest: bytes) -> Any:
        until, value = self._values.get(digest, (0.0, None))
        return value if time.monotonic() < until else None

    def put(self, digest: bytes, value: Any) -> None:
        if len(self._values) >= self._size:
            self._values.clear()
        self._values[digest] = (time.monotonic() + REMEMBER_SECONDS, value)


class TokenAuthentication(KnoxTokenAuthentication):
    """knox, with one query for a token that was good just now.

    Token and user are read each time: a revoked token and a deactivated user are noticed at once.
    """

    good = Memory()

    def authenticate_credentials(self, token: bytes) -> tuple[AbstractBaseUser, Any]:
        digest = _digest(token)
        if (key := self.good.get(digest)) and (user := self._user(key)):
            token_uses.note([key])
            return user, get_token_model()(pk=key, user=user)
        try:
            user, auth_token = super().authenticate_credentials(token)
        except UnicodeDecodeError as error:
            raise AuthenticationFailed("Invalid token.") from error
        self.good.put(digest, auth_token.pk)
        token_uses.note([auth_token.pk])
        return user, auth_token

    def _user(self, key: str) -> AbstractBaseUser | None:
        """Return the user of the token, None if the token or the user is no longer valid."""
        return users_of_tokens([key]).get(key)


class BasicAuthentication(authentication.BasicAuthentication):
    """Basic, without the price of the password hash for a password that was good just now.

    The user is read each time, and the digest includes the stored hash: a changed password and a
    deactivated user are noticed at once.
    """

    good = Memory()

    def authenticate_credentials(
        self, userid: str, password: str, request: Any = None
    ) -> tuple[AbstractBaseUser, None]:
        if (user := user_named(userid)) and self.good.get(_password_digest(user, password)):
            return user, None
        address = "" if request is None else caller_network(request)
        with failed_logins.watch(address, userid):
            user = user_with_password(request, userid, password)
            if user is None:
                raise AuthenticationFailed("Invalid username/password.")
        self.good.put(_password_digest(user, password), True)
        return user, None


class SessionAuthentication(authentication.SessionAuthentication):
    """The admin's session. The CSRF check leaves the body unread: a view reads it bounded."""

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request._request)  # type: ignore[arg-type]
        except PermissionDenied as error:
            raise Problem("csrf-failed", str(error.detail)) from error


def recognised(request: Request) -> Caller:
    """Return the caller where no login is needed. Invalid credentials count as none.

    Raises Problem after too many failed logins.
    """
    for door in (TokenAuthentication(), BasicAuthentication()):
        with suppress(AuthenticationFailed):
            if found := door.authenticate(request):
                user: Caller = found[0]
                return user
    return get_user(request._request)


@dataclass(frozen=True, slots=True)
class Login:
    """What a caller has logged in with, to be looked at again while it stays connected."""

    user_id: Any
    token: str = ""
    # The stored hash: another password ends what began with this one.
    password: str = ""
    session: str = ""


def login_of(request: Request) -> Login:
    """Return how the caller of the request has logged in."""
    if isinstance(request.auth, get_token_model()):
        return Login(request.user.pk, token=request.auth.pk)
    session = ""
    if isinstance(request.successful_authenticator, authentication.SessionAuthentication):
        session = request._request.session.session_key or ""
    user: Any = request.user
    return Login(user.pk, password=user.password, session=session)


def users_logged_in(logins: Collection[Login]) -> dict[Login, Any]:
    """Return the active users of logins that still hold, with one query for all of a kind."""
    tokens = {each.token for each in logins if each.token}
    of_tokens = users_of_tokens(tokens) if tokens else {}
    ids = {each.user_id for each in logins if not each.token}
    by_id = {user.pk: user for user in all_users().filter(pk__in=ids, is_active=True)}
    found = {each: _user_of(each, of_tokens, by_id) for each in logins}
    return {each: user for each, user in found.items() if user}


def _user_of(login: Login, of_tokens: dict[str, Any], by_id: dict[Any, Any]) -> Any:
    if login.token:
        return of_tokens.get(login.token)
    user = by_id.get(login.user_id)
    if user is None or user.password != login.password:
        return None
    sessions = import_module(settings.SESSION_ENGINE).SessionStore
    return user if not login.session or sessions().exists(login.session) else None


def users_of_tokens(keys: Collection[str]) -> dict[str, Any]:
    """Return the active users of valid tokens, by the keys of the tokens.

    Each has the configuration's revision, as text, in `revision`.
    """
    select = _select_users_of_tokens(len(keys))
    # Not by `raw`, with which the database plans the statement each time.
    rows = store().database.look_up(select.statement, select.values(keys))
    return {user.token_key: user for user in select.users(rows) if user.is_active}


@dataclass(frozen=True)
class SelectUsers:
    """A statement that selects users, with `PLACE` in the places of the tokens' keys."""

    statement: str
    params: Sequence[Any]
    compiler: SQLCompiler

    def values(self, keys: Collection[str]) -> list[Any]:
        left = iter(keys)
        return [next(left) if value == PLACE else value for value in self.params]

    def users(self, rows: list[Any]) -> Iterator[Any]:
        """Make the users of these rows as a QuerySet does."""
        compiler = self.compiler
        columns = compiler.klass_info["select_fields"]
        names = [compiler.select[column][0].target.attname for column in columns]
        model: type[Model] = get_user_model()
        for row in compiler.results_iter([rows]):
            user = model.from_db(compiler.using, names, [row[column] for column in columns])
            for name, column in compiler.annotation_col_map.items():
                setattr(user, name, row[column])
            yield user


@lru_cache(maxsize=256)
def _select_users_of_tokens(count: int) -> SelectUsers:
    """It is kept: Django takes ten times as long to write it as to execute it."""
    expiry = Q(auth_token_set__expiry=None) | Q(auth_token_set__expiry__gt=Now())
    # The marks differ, for Django drops what is in a list twice.
    places = [f"{PLACE} {number}" for number in range(count)]
    users = all_users().filter(expiry, auth_token_set__pk__in=places)
    revision = Subquery(ConfigurationRevision.objects.values(text=Cast("token", TextField())))
    users = users.annotate(token_key=F("auth_token_set__pk"), revision=revision)
    compiler = users.query.get_compiler(DEFAULT_DB_ALIAS)
    statement, params = compiler.as_sql()
    marked = [PLACE if value in places else value for value in params]
    return SelectUsers(statement, marked, compiler)


def _digest(secret: bytes) -> bytes:
    return hmac.digest(DIGEST_KEY, secret, "sha256")


def _password_digest(user: AbstractBaseUser, password: str) -> bytes:
    return _digest(f"{user.pk}\0{user.password}\0{password}".encode())

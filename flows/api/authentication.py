"""Bearer token, HTTP Basic or the admin's session. Results of costly checks are kept for
seconds."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY, get_user
from django.contrib.auth.models import AbstractBaseUser
from knox.auth import TokenAuthentication as KnoxTokenAuthentication
from knox.models import get_token_model
from rest_framework import authentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from flows.access.addresses import caller_network
from flows.access.rights import Caller
from flows.access.token_uses import token_uses
from flows.access.users_by_key import users_of_identities, users_of_tokens
from flows.api.errors import Problem
from flows.api.logins import failed_logins
from flows.identity.claims import Claims, looks_like_token
from flows.identity.errors import IssuerUnavailable, TokenRefused, UserRefused
from flows.identity.options import options
from flows.identity.users import user_of
from flows.models import ExternalIdentity
from flows.models.users import all_users, user_named, user_with_password

BASIC, BEARER = 'Basic realm="Async Engine"', "Bearer"
REMEMBER_SECONDS = 5.0
# After a failure the issuer is asked again as soon as that.
ISSUER_RETRY_AFTER = 5
# A stream whose login cannot be looked at again ends; its caller connects anew.
UNKNOWN_LOGIN_SECONDS = 600.0
# Each process has its own key, so a digest in memory tells nothing about the secret.
DIGEST_KEY = secrets.token_bytes(32)


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

    def authenticate_header(self, request: Request) -> str:
        """Return the word before a token, whatever REST_KNOX says of the project's own views."""
        return BEARER

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


class InvalidToken(AuthenticationFailed):
    """A token of an issuer is refused. `challenge` is the header of RFC 6750."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        plain = why.encode("ascii", "replace").decode().replace("\\", "/").replace('"', "'")
        self.challenge = f'{BEARER} error="invalid_token", error_description="{plain}"'


class IssuerProblem(Problem):
    """The issuer cannot be asked whether a token is valid."""

    def __init__(self) -> None:
        super().__init__("issuer-unavailable", headers={"Retry-After": str(ISSUER_RETRY_AFTER)})


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """What a token of an issuer says of its login; `identity` is the key of its user there."""

    identity: str
    claims: Claims


class IssuerAuthentication(authentication.BaseAuthentication):
    """Tokens of the OpenID Connect issuer, with one query for one that was good just now.

    The user is read each time: a deactivated one is noticed at once.
    """

    good = Memory()

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, IssuedToken] | None:
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not looks_like_token(token) or not is_taken():
            return None
        digest = _digest(token.encode(errors="replace"))
        issued: IssuedToken | None = self.good.get(digest)
        if issued and (user := self._user(issued)):
            return user, issued
        user, issued = self._verified(token)
        self.good.put(digest, issued)
        return user, issued

    def _user(self, issued: IssuedToken) -> AbstractBaseUser | None:
        """Return the user of a token that was good just now, None if one of both has ended."""
        if time.time() >= issued.claims.valid_until:
            return None
        return users_of_identities([issued.identity]).get(issued.identity)

    def _verified(self, token: str) -> tuple[AbstractBaseUser, IssuedToken]:
        # Late, with the libraries that ask and verify: most installations have no issuer.
        from flows.identity.provider import provider

        current = options()
        try:
            claims = provider(current.issuer).verified(token, current.audience)
            user = user_of(claims, current)
        except (TokenRefused, UserRefused) as error:
            raise InvalidToken(str(error)) from error
        except IssuerUnavailable as error:
            raise IssuerProblem from error
        return user, IssuedToken(ExternalIdentity.key_of(claims.issuer, claims.subject), claims)

    def authenticate_header(self, request: Request) -> str:
        return BEARER


def is_taken() -> bool:
    """Say whether an issuer is configured whose tokens are taken."""
    return bool(settings.ASYNCENGINE_OIDC_ISSUER) and options().takes_tokens


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
    for door in (IssuerAuthentication(), TokenAuthentication(), BasicAuthentication()):
        with suppress(AuthenticationFailed, IssuerProblem):
            if found := door.authenticate(request):
                user: Caller = found[0]
                return user
    return get_user(request._request)


@dataclass(frozen=True, slots=True)
class Login:
    """What a caller has logged in with, to be looked at again while it stays connected."""

    user_id: Any
    token: str = ""
    # The user's key at the issuer.
    identity: str = ""
    # The stored hash: another password ends what began with this one.
    password: str = ""
    session: str = ""
    # Seconds since 1970; None: the database says when it ends.
    until: float | None = None

    @property
    def key(self) -> str:
        """What the database finds the user by; empty where that takes more."""
        return self.token or self.identity


def login_of(request: Request) -> Login:
    """Return how the caller of the request has logged in."""
    user: Any = request.user
    if isinstance(request.auth, get_token_model()):
        return Login(user.pk, token=request.auth.pk)
    if isinstance(request.auth, IssuedToken):
        until = request.auth.claims.valid_until
        return Login(user.pk, identity=request.auth.identity, until=until)
    door = request.successful_authenticator
    if isinstance(door, authentication.SessionAuthentication):
        session = request._request.session.session_key or ""
        return Login(user.pk, password=user.password, session=session)
    if isinstance(door, authentication.BasicAuthentication):
        return Login(user.pk, password=user.password)
    # A project's own way: nothing here says when it ends.
    until = time.time() + UNKNOWN_LOGIN_SECONDS
    return Login(user.pk, password=user.password, until=until)


def users_logged_in(logins: Collection[Login]) -> dict[Login, Any]:
    """Return the active users of logins that still hold, with one query for all of a kind."""
    now = time.time()
    holding = [each for each in logins if each.until is None or now < each.until]
    by_key = users_by_key(each for each in holding if each.key)
    others = {each.user_id for each in holding if not each.key}
    by_id = _active_users(others) if others else {}
    found = {each: by_key.get(each.key) if each.key else _user_of(each, by_id) for each in holding}
    return {each: user for each, user in found.items() if user}


def users_by_key(logins: Iterable[Login]) -> dict[str, Any]:
    """Return the active users of logins with a key that still hold, by the key."""
    tokens, identities = keys_that_hold(logins)
    found = users_of_tokens(tokens) if tokens else {}
    return {**found, **users_of_identities(identities)} if identities else found


def keys_that_hold(logins: Iterable[Login]) -> tuple[set[str], set[str]]:
    """Return the keys of tokens, and of identities at issuers; the database may know of an end."""
    now = time.time()
    tokens, identities = set[str](), set[str]()
    for each in logins:
        if each.token:
            tokens.add(each.token)
        elif each.until is None or now < each.until:
            identities.add(each.identity)
    return tokens, identities


def _active_users(ids: Collection[Any]) -> dict[Any, Any]:
    return {user.pk: user for user in all_users().filter(pk__in=ids, is_active=True)}


def _user_of(login: Login, by_id: dict[Any, Any]) -> Any:
    user = by_id.get(login.user_id)
    if user is None or user.password != login.password:
        return None
    return user if not login.session or _is_session_of(user, login.session) else None


def _is_session_of(user: Any, key: str) -> bool:
    """Say whether a session is the user's. It is read: `exists` finds those that have expired."""
    session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    return bool(session.get(SESSION_KEY) == user._meta.pk.value_to_string(user))


def _digest(secret: bytes) -> bytes:
    return hmac.digest(DIGEST_KEY, secret, "sha256")


def _password_digest(user: AbstractBaseUser, password: str) -> bytes:
    return _digest(f"{user.pk}\0{user.password}\0{password}".encode())

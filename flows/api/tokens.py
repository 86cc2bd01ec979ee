from __future__ import annotations

from typing import Any

import orjson
from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpResponse
from knox.settings import knox_settings
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from flows.access import audit
from flows.access.addresses import caller_network
from flows.access.tokens import make_token, tokens_of
from flows.api.authentication import BASIC, BEARER, BasicAuthentication, TokenAuthentication
from flows.api.body import is_left_out, json_body
from flows.api.errors import Problem
from flows.api.logins import failed_logins
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.operations import CREATE_TOKEN, REVOKE_TOKEN
from flows.api.view import OpenView, json_response, no_content
from flows.errors import PasswordChanged
from flows.identity.users import is_external
from flows.models.users import user_with_password
from scripts.protocol.strict_json import read_exactly

CHALLENGE = {"WWW-Authenticate": BASIC}


class TokenView(OpenView):
    """Credentials in the body count; without any, those of the Authorization header."""

    @extend_schema(**CREATE_TOKEN)
    def post(self, request: Request) -> HttpResponse:
        user = _by_body(request) or _by_header(request)
        if user is None:
            raise Problem("not-authenticated", headers=CHALLENGE)
        if is_external(user):
            # With a password that was set here it would have one, as addToken gives it none.
            raise Problem("token-not-allowed")
        try:
            token = make_token(user).text
        except PasswordChanged as error:
            raise Problem("not-authenticated", str(error), headers=CHALLENGE) from error
        document = {
            "accessToken": token,
            "tokenType": "Bearer",
            "expiresIn": int(knox_settings.TOKEN_TTL.total_seconds()),
        }
        return json_response(document, headers={"Cache-Control": "no-store"})

    @extend_schema(**REVOKE_TOKEN)
    def delete(self, request: Request) -> HttpResponse:
        try:
            found = TokenAuthentication().authenticate(request)
        except AuthenticationFailed:
            found = None
        if found is None:
            detail = "The call revokes the Bearer token that it is made with, and has no valid one."
            raise Problem("not-authenticated", detail, headers={"WWW-Authenticate": BEARER})
        user, token = found
        with audit.acting(user=user):
            # Read again for the audit log: of one that was good just now the key alone is known.
            tokens_of(user).filter(pk=token.pk).delete()
        return no_content()


def _by_body(request: Request) -> AbstractBaseUser | None:
    """Return the user that the body names, None where it has no credentials."""
    document = _parse(json_body(request._request))
    given = {name: document[name] for name in ("userName", "password") if name in document}
    if not given:
        return None
    faults = [
        {"path": f"$.{name}", "detail": "must be a text"}
        for name in ("userName", "password")
        if not isinstance(given.get(name), str)
    ]
    if faults:
        raise Problem("payload-invalid", "userName and password are needed.", errors=faults)
    return _user(request, given["userName"], given["password"])


def _parse(raw: bytes) -> dict[str, Any]:
    """Read a body that is not stored: unlike a payload it may have NUL, which is no user's name."""
    if is_left_out(raw):
        return {}
    try:
        document = orjson.loads(raw)
        # It finds a key that stands twice.
        read_exactly(raw)
    except (ValueError, RecursionError) as error:
        raise Problem("payload-invalid", f"The body is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise Problem("payload-invalid", "The body must be a JSON object.")
    return document


def _user(request: Request, name: str, password: str) -> AbstractBaseUser:
    try:
        with failed_logins.watch(caller_network(request), name):
            user = user_with_password(request._request, name, password)
            if user is None:
                raise AuthenticationFailed("Wrong user name or password.")
            return user
    except AuthenticationFailed as error:
        raise Problem("not-authenticated", str(error.detail), headers=CHALLENGE) from error


def _by_header(request: Request) -> AbstractBaseUser | None:
    try:
        found = BasicAuthentication().authenticate(request)
    except AuthenticationFailed as error:
        raise Problem("not-authenticated", str(error.detail), headers=CHALLENGE) from error
    return found[0] if found else None

"""The caller's own tokens, and who the caller is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import HttpResponse
from knox.settings import knox_settings
from rest_framework.request import Request

from flows.access.rights import rights_by_flow
from flows.access.tokens import make_token, revoke_token, valid_tokens
from flows.api.authentication import (
    BasicAuthentication,
    IssuedToken,
    IssuerAuthentication,
    SessionAuthentication,
)
from flows.api.body import json_body
from flows.api.checked_body import CheckedBody
from flows.api.errors import Problem
from flows.api.openapi.describe import extend_schema
from flows.api.openapi.schemas import TOKEN_REQUEST
from flows.api.openapi.token_operations import ADD_TOKEN, LIST_TOKENS, REMOVE_TOKEN, WHO_AM_I
from flows.api.pages import PAGE_PARAMETERS, Order, page_of_rows
from flows.api.view import ApiView, json_response, no_content
from flows.identity.claims import Claims
from flows.identity.users import is_external
from flows.models import Flow
from flows.monitoring.times import rfc3339
from flows.options import can_be_a_name

BODY = CheckedBody(TOKEN_REQUEST, may_be_empty=True)
# By what a token is known by, and not by its digest, which is its key.
NEWEST_FIRST = Order("created", key="token_key")
# What whoAmI calls the ways to log in; all others are `bearer`.
WAYS: dict[type, str] = {
    BasicAuthentication: "basic",
    SessionAuthentication: "session",
    IssuerAuthentication: "jwt",
}


class TokensView(ApiView):
    query_parameters = PAGE_PARAMETERS

    @extend_schema(**LIST_TOKENS)
    def get(self, request: Request) -> HttpResponse:
        def show(tokens: Sequence[Any]) -> list[Any]:
            return [_document(request, token) for token in tokens]

        tokens = valid_tokens(request.user)
        return json_response(page_of_rows(request, self.query, tokens, show, order=NEWEST_FIRST))

    @extend_schema(**ADD_TOKEN)
    def post(self, request: Request) -> HttpResponse:
        body = BODY.read(json_body(request._request))
        if is_external(request.user):
            # Its tokens would go on where the identity provider has ended the login.
            raise Problem("token-not-allowed")
        made = make_token(request.user, body.get("name", "").strip(), _lifetime(body))
        token = valid_tokens(request.user).get(pk=made.row.pk)
        document = {"accessToken": made.text, "tokenType": "Bearer", **_document(request, token)}
        return json_response(document, status=201, headers={"Cache-Control": "no-store"})


class OwnTokenView(ApiView):
    @extend_schema(**REMOVE_TOKEN)
    def delete(self, request: Request, id: str) -> HttpResponse:
        if not (can_be_a_name(id) and revoke_token(request.user, id)):
            raise Problem("not-found", "You have no token of this id.")
        return no_content()


class WhoAmIView(ApiView):
    @extend_schema(**WHO_AM_I)
    def get(self, request: Request) -> HttpResponse:
        user = request.user
        rights = rights_by_flow(user)
        names = Flow.objects.filter(pk__in=[pk for pk in rights if pk]).order_by("name")
        document = {
            "userName": user.get_username(),
            "isSuperuser": bool(getattr(user, "is_superuser", False)),
            "authentication": _authentication(request),
            "token": _current(request),
            "rights": {
                "everyFlow": sorted(rights[None]),
                "flows": [
                    {"flowName": name, "rights": sorted(rights[pk])}
                    for pk, name in names.values_list("pk", "name")
                ],
            },
        }
        return json_response(document)


def _lifetime(body: dict[str, Any]) -> timedelta | None:
    """Return how long the token is to be valid. The schema of the body bounds it."""
    if "expiresIn" in body:
        return timedelta(seconds=body["expiresIn"])
    default: timedelta | None = knox_settings.TOKEN_TTL
    return default


def _document(request: Request, token: Any) -> dict[str, Any]:
    return {
        # What a token begins with; its caller knows it, and the database finds the token by it.
        "id": token.token_key,
        "name": token.name or None,
        "createdAt": rfc3339(token.created),
        "expiresAt": token.expiry and rfc3339(token.expiry),
        "lastUsedAt": token.used_at and rfc3339(token.used_at),
        "isCurrent": token.pk == _key(request),
    }


def _current(request: Request) -> dict[str, Any] | None:
    """Return the token of this call, None if there is none."""
    if isinstance(request.auth, IssuedToken):
        return _issued_document(request.auth.claims)
    key = _key(request)
    token = key and valid_tokens(request.user).filter(pk=key).first()
    return _document(request, token) if token else None


def _issued_document(claims: Claims) -> dict[str, Any]:
    """Return what whoAmI shows of a token of the issuer."""
    return {
        "id": str(claims.all.get("jti") or claims.subject),
        "name": None,
        "createdAt": rfc3339(datetime.fromtimestamp(claims.issued_at, UTC)),
        "expiresAt": rfc3339(datetime.fromtimestamp(claims.expires_at, UTC)),
        "lastUsedAt": None,
        "isCurrent": True,
    }


def _key(request: Request) -> str | None:
    """Return the key of the token of this call; None: the caller has logged in without one."""
    return getattr(request.auth, "pk", None)


def _authentication(request: Request) -> str:
    way = request.successful_authenticator
    for kind, name in WAYS.items():
        if isinstance(way, kind):
            return name
    return "bearer"

"""The authorization code flow of a login at the issuer, with PKCE, state and nonce."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.client import OAuth2Client

from flows.identity.claims import Claims
from flows.identity.errors import IssuerUnavailable, LoginFailed, TokenRefused
from flows.identity.fetching import client
from flows.identity.options import Options
from flows.identity.provider import Provider, provider
from flows.identity.users import first_name, has_claim

SCOPE = "openid profile email"
LONGEST_REASON = 200


@dataclass(frozen=True, slots=True)
class Begun:
    """What a login has to match at its end. The browser keeps it meanwhile."""

    state: str
    nonce: str
    # Proves that the code is redeemed by the process that asked for it.
    verifier: str


def begin(options: Options, redirect_uri: str) -> tuple[str, Begun]:
    """Return the address at the issuer where the browser goes. Raises IssuerUnavailable."""
    place = provider(options.issuer).endpoint("authorization_endpoint")
    begun = Begun(*(secrets.token_urlsafe(32) for _ in range(3)))
    with client() as session:
        url, _ = _oauth(session, options).create_authorization_url(
            place,
            state=begun.state,
            nonce=begun.nonce,
            code_verifier=begun.verifier,
            redirect_uri=redirect_uri,
        )
    return str(url), begun


def finish(options: Options, begun: Begun, redirect_uri: str, query: Mapping[str, str]) -> Claims:
    """Return what the issuer says of the user that has logged in.

    Raises LoginFailed, TokenRefused, IssuerUnavailable.
    """
    if not secrets.compare_digest(query.get("state", "").encode(), begun.state.encode()):
        raise LoginFailed("The login was begun in another window.")
    if query.get("iss", options.issuer) != options.issuer:
        raise LoginFailed("Another issuer has answered.")
    if error := query.get("error"):
        reason = query.get("error_description") or error
        raise LoginFailed(f"{options.name} has refused it: {reason[:LONGEST_REASON]}")
    at = provider(options.issuer)
    tokens = _tokens(at, options, begun, redirect_uri, query.get("code", ""))
    claims = at.verified(_text(tokens, "id_token"), options.client_id)
    if claims.all.get("nonce") != begun.nonce:
        raise LoginFailed("The answer belongs to another login.")
    if claims.all.get("azp", options.client_id) != options.client_id:
        raise LoginFailed("The answer belongs to another application.")
    return _with_roles(at, options, claims, _text(tokens, "access_token"))


def _tokens(
    at: Provider, options: Options, begun: Begun, redirect_uri: str, code: str
) -> Mapping[str, Any]:
    """Redeem the code."""
    place = at.endpoint("token_endpoint")
    proof: dict[str, Any] = {"auth": (options.client_id, options.client_secret)}
    methods = at.metadata().get("token_endpoint_auth_methods_supported")
    if isinstance(methods, list) and methods and "client_secret_basic" not in methods:
        secret = {"client_id": options.client_id, "client_secret": options.client_secret}
        # An empty one: the library would add the header.
        proof = {"auth": httpx.Auth(), **secret}
    try:
        with client() as session:
            found: Mapping[str, Any] = _oauth(session, options).fetch_token(
                place,
                grant_type="authorization_code",
                code=code,
                code_verifier=begun.verifier,
                redirect_uri=redirect_uri,
                **proof,
            )
    except OAuth2Error as error:
        reason = str(error.description or error.error)[:LONGEST_REASON]
        raise LoginFailed(f"{options.name} has refused it: {reason}") from error
    except (httpx.HTTPError, ValueError) as error:
        raise IssuerUnavailable(f"{place}: {type(error).__name__}: {error}") from error
    return found


def _oauth(session: httpx.Client, options: Options) -> Any:
    return OAuth2Client(
        session,
        client_id=options.client_id,
        client_secret=options.client_secret,
        scope=SCOPE,
        code_challenge_method="S256",
    )


def _text(tokens: Mapping[str, Any], name: str) -> str:
    found = tokens.get(name)
    return found if isinstance(found, str) else ""


def _with_roles(at: Provider, options: Options, claims: Claims, access_token: str) -> Claims:
    """Take the roles from the access token, where the ID token names none.

    It counts if the API would take it: Keycloak names roles there alone.
    """
    if not options.audience or has_claim(claims.all, options.role_claim):
        return claims
    try:
        found = at.verified(access_token, options.audience)
    except TokenRefused:
        return claims
    if not _same(found, claims):
        return claims
    # The ID token may have others of the same beginning, as the roles of another application.
    name = first_name(found.all, options.role_claim)
    return replace(claims, all={**found.all, **claims.all, name: found.all.get(name)})


def _same(one: Claims, other: Claims) -> bool:
    return (one.issuer, one.subject) == (other.issuer, other.subject)

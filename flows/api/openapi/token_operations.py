"""The operations on the caller's own tokens in the OpenAPI document."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiResponse

from flows.api.openapi.describe import answered, in_path, operation
from flows.api.openapi.examples import ADDED_TOKEN, OWN_TOKEN, WHO
from flows.api.openapi.operations import PAGE
from flows.api.openapi.schemas import TOKEN_REQUEST, ref

WHO_AM_I = operation(
    "GET",
    "whoAmI",
    "auth",
    "See who the caller is",
    "Returns the user, how the call was authenticated, the token with its expiry where there is"
    " one, and the user's rights: those to every flow, and those to single flows in addition.",
    answer=answered("The caller.", ref("Caller"), WHO),
)

LIST_TOKENS = operation(
    "GET",
    "listTokens",
    "auth",
    "List the caller's tokens, the newest first",
    "Returns the valid bearer tokens of the caller. The tokens themselves are not stored and cannot"
    " be shown again.",
    parameters=PAGE,
    answer=answered(
        "The tokens.", ref("TokenPage"), {"results": [OWN_TOKEN], "next": None, "nextCursor": None}
    ),
)

ADD_TOKEN = operation(
    "POST",
    "addToken",
    "auth",
    "Make a bearer token with a name",
    "Makes a token of the caller. Without `expiresIn` it is valid as long as one of createToken. A"
    " user has at most 50 tokens: at that number one with a name is refused, and one without a"
    " name revokes the oldest one that has no name. Several may have the same name, so that a token"
    " is replaced before the old one is revoked: its `id` tells them apart. A changed password or a"
    " deactivated user revokes all. Users of the identity provider make none.",
    body={"application/json": TOKEN_REQUEST},
    answer=answered(
        "The token; it is shown this once.", ref("AddedToken"), ADDED_TOKEN, status=201
    ),
    problems=("token-not-allowed", "too-many-tokens", "payload-too-large"),
)

REMOVE_TOKEN = operation(
    "DELETE",
    "removeToken",
    "auth",
    "Revoke one of the caller's tokens",
    "The token is not valid any more.",
    parameters=[in_path("id", "The token's id: what it begins with.")],
    answer={204: OpenApiResponse(description="The token is revoked.")},
    problems=("not-found",),
)

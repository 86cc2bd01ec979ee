"""Signatures that a worker makes and verifies for its scripts, which never see the keys."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from scripts.protocol.calls import Program
from scripts.protocol.services import Deadline, RequestFailed, Service
from scripts.services.keys import algorithm, algorithms_of, keys_of, public_part, require_fit
from scripts.services.tokens import ExactTokens

_CURVE_BYTES = {"ES256": 32, "ES384": 48, "ES512": 66}
_MAX_TOKEN = 64 * 1024
_MAX_LEEWAY_SECONDS = 24 * 3600
_TIMES = ("exp", "nbf", "iat")

# What PyJWT finds wrong, in the order of its classes, with our word for it.
_FAULTS: tuple[tuple[type[Exception], str, str], ...] = (
    (jwt.ExpiredSignatureError, "expired", "The token has expired."),
    (jwt.ImmatureSignatureError, "not-yet", "The token is not valid yet."),
    (jwt.InvalidAudienceError, "audience", "The token is for another audience."),
    (jwt.InvalidIssuerError, "issuer", "The token is from another issuer."),
    (jwt.MissingRequiredClaimError, "claim", "The token lacks a claim: {}"),
    (jwt.InvalidSignatureError, "signature", "The signature of the token does not fit its key."),
)


class Signatures:
    """The service `sign`: what = sign, verify, jwt, verifyJwt; see the methods for the rest.

    A key is the secret `secret`, one that the script lists, or for a verification the text
    `publicKey`.
    """

    def __init__(self, secrets: Service) -> None:
        self._secrets = secrets

    def __call__(
        self, program: Program, request: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        def secret(name: str) -> str:
            value: str = self._secrets(program, {"name": name}, deadline)["value"]
            return value

        match request.get("what"):
            case "sign":
                return _sign(request, secret)
            case "verify":
                return _verify(request, secret)
            case "jwt":
                return _jwt(request, secret)
            case "verifyJwt":
                return _verify_jwt(request, secret)
        raise RequestFailed("A request for a signature says what it wants.", "invalid")


_Secret = Callable[[str], str]
_Keys = list[tuple[str | None, Any]]


def _sign(request: dict[str, Any], secret: _Secret) -> dict[str, Any]:
    """{algorithm, secret, data, der} to {signature}; data and signature are in base64."""
    name, method = request.get("algorithm"), algorithm(request.get("algorithm"))
    _, key = _signing_key(request, secret)
    require_fit(key, name or "", _where(request))
    signature = method.sign(_bytes(request, "data"), key)
    if request.get("der") and name in _CURVE_BYTES:
        half = len(signature) // 2
        r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
        signature = encode_dss_signature(r, s)
    return {"signature": b64encode(signature).decode()}


def _verify(request: dict[str, Any], secret: _Secret) -> dict[str, Any]:
    """{algorithm, data, signature, secret or publicKey} to {valid}."""
    name, method = request.get("algorithm"), algorithm(request.get("algorithm"))
    keys = [public_part(key) for _, key in _keys(request, secret)]
    fitting = [key for key in keys if name in algorithms_of(key)]
    if not fitting:
        require_fit(keys[0], name or "", _where(request))
    data, signature = _bytes(request, "data"), _raw(name or "", _bytes(request, "signature"))
    return {"valid": any(_fits(method, data, key, signature) for key in fitting)}


def _fits(method: Any, data: bytes, key: Any, signature: bytes) -> bool:
    try:
        return bool(method.verify(data, key, signature))
    except (InvalidSignature, ValueError):
        return False


def _raw(name: str, signature: bytes) -> bytes:
    """Return a signature of a curve as tokens have it: r and s, where it is in DER."""
    length = _CURVE_BYTES.get(name, 0)
    if not length or len(signature) == 2 * length:
        return signature
    try:
        return b"".join(part.to_bytes(length, "big") for part in decode_dss_signature(signature))
    except (ValueError, OverflowError):
        return signature


def _jwt(request: dict[str, Any], secret: _Secret) -> dict[str, Any]:
    """{claims, secret, algorithm, headers, expires} to {token}. `expires`: seconds from now.

    The claims are JSON text, so that no part of the way changes their numbers.
    """
    name = request.get("algorithm")
    algorithm(name)
    tokens = ExactTokens()
    claims, headers = _given_claims(request, tokens), _headers(request)
    if {"alg", "b64", "crit"} & headers.keys():
        raise RequestFailed("headers cannot have alg, b64 or crit.", "invalid")
    if (seconds := request.get("expires")) is not None:
        now = int(time.time())
        claims = {"iat": now, "exp": now + int(_number("expires", seconds, 10**9)), **claims}
    for claim in _TIMES:
        if claim in claims:
            _number(f"claims.{claim}", claims[claim], 10**12)
    key_id, key = _signing_key(request, secret)
    require_fit(key, name or "", _where(request))
    if key_id is not None:
        headers = {"kid": key_id, **headers}
    try:
        return {"token": tokens.encode(claims, key, name, headers=headers)}
    except (TypeError, ValueError, jwt.PyJWTError) as error:
        raise RequestFailed(f"The token cannot be made: {error}", "invalid") from None


def _verify_jwt(request: dict[str, Any], secret: _Secret) -> dict[str, Any]:
    """{token, secret or publicKey, algorithms, audience, issuer, leeway} to {text, headers}.

    The text is JSON with the claims.
    """
    token = request.get("token")
    if not isinstance(token, str) or len(token) > _MAX_TOKEN:
        raise RequestFailed("The token is not a text, or is too long.", "token")
    try:
        headers = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise RequestFailed("The token is not a JSON Web Token.", "token") from None
    keys = _keys_for(headers, _keys(request, secret))
    allowed = request.get("algorithms")
    if allowed is not None:
        if not isinstance(allowed, list) or not allowed:
            raise RequestFailed("algorithms takes a list of names.", "invalid")
        for name in allowed:
            algorithm(name)
    fitting = [key for key in keys if headers.get("alg") in algorithms_of(key)]
    if not (fitting if allowed is None else headers.get("alg") in allowed):
        said = f"The token is signed by {str(headers.get('alg'))[:20]}, which is not accepted here."
        raise RequestFailed(said, "algorithm")
    if not fitting:
        require_fit(keys[0], headers["alg"], _where(request))
    return {"text": _claims(token, fitting, headers["alg"], request), "headers": headers}


def _keys_for(headers: dict[str, Any], keys: _Keys) -> list[Any]:
    """Return the keys that may have signed: the named one, where the set has a key of the name."""
    named = [key for key_id, key in keys if key_id is not None and key_id == headers.get("kid")]
    if not named and len(keys) > 1 and "kid" in headers and all(name for name, _ in keys):
        said = f"There is no key {str(headers['kid'])[:100]!r} among the public keys."
        raise RequestFailed(said, "unknown-key")
    return [public_part(key) for key in named or [key for _, key in keys]]


def _claims(token: str, keys: list[Any], name: str, request: dict[str, Any]) -> str:
    tokens = ExactTokens()
    audience, issuer = _names(request, "audience"), _names(request, "issuer")
    given = request.get("leeway")
    leeway = _number("leeway", 0 if given is None else given, _MAX_LEEWAY_SECONDS)
    fault: Exception = jwt.InvalidSignatureError()
    for key in keys:
        try:
            claims = tokens.decode(
                token,
                key,
                algorithms=[name],
                audience=audience,
                issuer=issuer,
                leeway=leeway,
                options={"verify_aud": audience is not None, "verify_iat": False},
            )
            return tokens.text_of(claims)
        except jwt.InvalidSignatureError:
            continue
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError) as error:
            fault = error
            break
    for kind, word, said in _FAULTS:
        if isinstance(fault, kind):
            raise RequestFailed(said.format(fault), word) from None
    raise RequestFailed(f"The token is not valid: {fault}", "token") from None


def _keys(request: dict[str, Any], secret: _Secret) -> _Keys:
    """Return the keys that a request names, one at least."""
    public, name = request.get("publicKey"), request.get("secret")
    if (public is None) == (name is None):
        raise RequestFailed("Name a secret or give a public key, one of the two.", "invalid")
    if public is None:
        keys = keys_of(secret(_name(name)), _where(request), is_secret=True)
    else:
        text = json.dumps(public) if isinstance(public, dict) else public
        if not isinstance(text, str):
            raise RequestFailed("A public key is a text or an object, a JWK.", "invalid")
        keys = keys_of(text, _where(request), is_secret=False)
        if any(isinstance(key, bytes) for _, key in keys):
            raise RequestFailed("A shared key is no public key: name its secret.", "wrong-key")
    if not keys:
        raise RequestFailed(f"There is no key for signatures in {_where(request)}.", "wrong-key")
    return keys


def _signing_key(request: dict[str, Any], secret: _Secret) -> tuple[str | None, Any]:
    name = _name(request.get("secret"))
    keys = keys_of(secret(name), _where(request), is_secret=True)
    if len(keys) != 1 or not (isinstance(keys[0][1], bytes) or hasattr(keys[0][1], "sign")):
        raise RequestFailed(f"The key of {_where(request)} is no private key.", "wrong-key")
    return keys[0]


def _where(request: dict[str, Any]) -> str:
    name = request.get("secret")
    return "the public key" if name is None else f"the secret {name!r}"


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise RequestFailed("A signature takes the name of a secret.", "invalid")
    return name


def _given_claims(request: dict[str, Any], tokens: ExactTokens) -> dict[str, Any]:
    text = request.get("claims")
    try:
        return tokens.claims_of(text if isinstance(text, str) else "")
    except (ValueError, RecursionError):
        raise RequestFailed("claims must be an object.", "invalid") from None


def _names(request: dict[str, Any], what: str) -> str | list[str] | None:
    """Return what a token is checked for: a text, or texts where one is enough."""
    given = request.get(what)
    names = [given] if isinstance(given, str) else given
    is_valid = isinstance(names, list) and names and all(isinstance(n, str) and n for n in names)
    if given is not None and not is_valid:
        raise RequestFailed(f"{what} takes a text or a list of texts.", "invalid")
    return given


def _headers(request: dict[str, Any]) -> dict[str, Any]:
    value = request.get("headers")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestFailed("headers must be an object.", "invalid")
    return value


def _number(what: str, value: Any, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise RequestFailed(f"{what} must be a number of seconds, {most} at most.", "invalid")
    return value


def _bytes(request: dict[str, Any], name: str) -> bytes:
    """Return the bytes of a part: `name` is a text, `nameBase64` bytes, by any of its alphabets."""
    if isinstance(text := request.get(name), str):
        return text.encode(errors="replace")
    if not isinstance(written := request.get(f"{name}Base64"), str):
        raise RequestFailed(f"{name} must be a text or bytes.", "invalid")
    try:
        plain = written.strip().translate(str.maketrans("-_", "+/")).rstrip("=")
        return b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        raise RequestFailed(f"The {name} is not written in base64.", "invalid") from None

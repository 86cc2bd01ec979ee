"""Verify JSON Web Tokens of an issuer with its public keys. No network, no database."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import jwt

from flows.identity.claims import LEEWAY_SECONDS, Claims
from flows.identity.errors import TokenRefused

Key = Mapping[str, Any]

# Public keys alone verify: with HS256 the public key itself would be the secret.
ALGORITHMS = frozenset(
    f"{family}{size}" for family in ("RS", "PS", "ES") for size in (256, 384, 512)
) | {"EdDSA"}
KINDS = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
# As RFC 9068 calls access tokens, and as others do. Tokens for other uses name another type.
TYPES = frozenset({"", "jwt", "application/jwt", "at+jwt", "application/at+jwt"})
LONGEST = 16 * 1024
LONGEST_SUBJECT = 255
# Three parts in base64url, without the padding that one decoder takes and another one does not.
SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def header_of(token: str) -> dict[str, Any]:
    """Return the header, which nothing has verified yet. Raises TokenRefused."""
    if len(token) > LONGEST:
        raise TokenRefused("The token is too long.")
    if not SHAPE.fullmatch(token):
        raise TokenRefused("The token is malformed.")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise TokenRefused(f"The token is malformed: {error}.") from error
    algorithm, kind = header.get("alg"), header.get("typ", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused("The token's algorithm is not allowed.")
    if not isinstance(kind, str) or kind.lower() not in TYPES:
        raise TokenRefused("The token is of another type.")
    return header


def keys_for(header: Mapping[str, Any], keys: Iterable[Key]) -> list[Key]:
    """Return the keys that may have signed a token with this header."""
    return [key for key in keys if _fits(header, key)]


def verified(token: str, keys: Iterable[Key], issuer: str, audience: str) -> Claims:
    """Return what a token says that one of the keys has signed. Raises TokenRefused."""
    algorithm = header_of(token)["alg"]
    for key in _usable(keys, algorithm):
        try:
            return _claims(_decoded(token, key, algorithm, issuer, audience))
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
            continue
        except jwt.PyJWTError as error:
            raise TokenRefused(f"The token is refused: {error}.") from error
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise TokenRefused("The token's claims are malformed.") from error
    raise TokenRefused("The token's signature is wrong.")


def _fits(header: Mapping[str, Any], key: Key) -> bool:
    algorithm, kid = header["alg"], header.get("kid")
    return (
        key.get("kty") == KINDS[algorithm[:2]]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (kid is None or key.get("kid") == kid)
    )


def _usable(keys: Iterable[Key], algorithm: str) -> Iterator[jwt.PyJWK]:
    for key in keys:
        try:
            # Bound to the algorithm: the token does not choose another one.
            yield jwt.PyJWK(dict(key), algorithm=algorithm)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue


def _decoded(
    token: str, key: jwt.PyJWK, algorithm: str, issuer: str, audience: str
) -> dict[str, Any]:
    return jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        audience=audience,
        issuer=issuer,
        leeway=LEEWAY_SECONDS,
        options={
            "require": ["exp", "iss", "aud", "sub"],
            "enforce_minimum_key_length": True,
        },
    )


def _claims(found: dict[str, Any]) -> Claims:
    subject = found["sub"]
    if not subject or len(subject) > LONGEST_SUBJECT or not subject.isprintable():
        raise TokenRefused("The token's subject is malformed.")
    # Without one the token counts as issued in this minute.
    issued_at = found.get("iat", found.get("nbf", time.time() // 60 * 60))
    return Claims(found["iss"], subject, _bounded(issued_at), _bounded(found["exp"]), found)


def _bounded(moment: Any) -> float:
    """Return a time that a database can store."""
    return min(max(float(moment), 0.0), LATEST)

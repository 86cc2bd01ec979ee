"""Keys for signatures: PEM, JWK or a set of JWKs, for the algorithms of JSON Web Signature."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from scripts.protocol.services import RequestFailed

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
    *("HS256", "HS384", "HS512"),
)
# Below it a key can be broken, above it one signature takes too long.
_RSA_BITS = range(2048, 8193)
# Public exponents beyond it make a verification as slow as a signature.
_MAX_EXPONENT = 2**32
_MAX_KEYS = 100
_MAX_TEXT = 256 * 1024
_MIN_SHARED_BYTES = 16
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def algorithm(name: Any) -> Any:
    """Return what signs and verifies. Raises RequestFailed for a name that is none of these."""
    if name not in ALGORITHMS:
        said = f"There is no algorithm {name!r}: it is one of {', '.join(ALGORITHMS)}."
        raise RequestFailed(said, "invalid")
    return jwt.get_algorithm_by_name(name)


def algorithms_of(key: Any) -> tuple[str, ...]:
    """Return the algorithms that a key is for; so a token cannot choose another kind of them."""
    match key:
        case bytes():
            return tuple(name for name in ALGORITHMS if name.startswith("HS"))
        case rsa.RSAPrivateKey() | rsa.RSAPublicKey():
            return tuple(name for name in ALGORITHMS if name[:2] in {"RS", "PS"})
        case ec.EllipticCurvePrivateKey() | ec.EllipticCurvePublicKey():
            return (_CURVES[key.curve.name],) if key.curve.name in _CURVES else ()
        case ed25519.Ed25519PrivateKey() | ed25519.Ed25519PublicKey():
            return ("EdDSA",)
    return ()


def require_fit(key: Any, name: str, where: str) -> None:
    """Raise RequestFailed where the key is not for the algorithm."""
    fitting = algorithms_of(key)
    if name not in fitting:
        said = f"The key of {where} is not for {name} but for {', '.join(fitting) or 'nothing'}."
        raise RequestFailed(said, "wrong-key")


def public_part(key: Any) -> Any:
    """Return what verifies: of a private key the public one, of a shared one itself."""
    return key.public_key() if hasattr(key, "public_key") else key


def keys_of(text: str, where: str, *, is_secret: bool) -> list[tuple[str | None, Any]]:
    """Return the keys in a text, with their ids. A secret of no known form is a shared key.

    Raises RequestFailed, without any part of the text.
    """
    if len(text) > _MAX_TEXT:
        raise RequestFailed(f"The key of {where} is too long.", "wrong-key")
    try:
        keys = _read(text, is_secret)
    except RequestFailed:
        raise
    except Exception:
        # What libraries say may have parts of the key.
        raise RequestFailed(
            f"The key of {where} cannot be read: it must be PEM without a password, a JWK or a set"
            " of JWKs.",
            "wrong-key",
        ) from None
    for _, key in keys:
        _require_strength(key, where)
    return keys


@lru_cache(maxsize=64)
def _read(text: str, is_secret: bool) -> list[tuple[str | None, Any]]:
    """Read the keys. They are kept: reading one checks its primes, which takes long."""
    stripped = text.strip()
    if stripped.startswith("{"):
        document = json.loads(stripped)
        if "keys" in document:
            listed = document["keys"][:_MAX_KEYS]
            return [(entry.get("kid"), _jwk(entry)) for entry in listed if _is_for_signing(entry)]
        if "kty" in document:
            return [(document.get("kid"), _jwk(document))]
    if "-----BEGIN" in stripped:
        return [(None, _pem(stripped.encode()))]
    if is_secret:
        return [(None, text.encode())]
    raise ValueError


def _is_for_signing(entry: dict[str, Any]) -> bool:
    """Whether a key of a set is for signatures and of a kind that is known here."""
    known = {"RSA": None, "EC": ("P-256", "P-384", "P-521"), "OKP": ("Ed25519",)}
    kind = entry.get("kty")
    curves = known.get(kind, ()) if isinstance(kind, str) else ()
    return entry.get("use", "sig") == "sig" and (curves is None or entry.get("crv") in curves)


def _jwk(entry: dict[str, Any]) -> Any:
    return jwt.PyJWK(entry, algorithm=_algorithm_of_jwk(entry)).key


def _algorithm_of_jwk(entry: dict[str, Any]) -> str:
    if entry["kty"] == "EC":
        return {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[entry["crv"]]
    return {"RSA": "RS256", "OKP": "EdDSA", "oct": "HS256"}[entry["kty"]]


def _pem(text: bytes) -> Any:
    if b"PRIVATE KEY-----" in text:
        return load_pem_private_key(text, password=None)
    if b"BEGIN CERTIFICATE-----" in text:
        return load_pem_x509_certificate(text).public_key()
    return load_pem_public_key(text)


def _require_strength(key: Any, where: str) -> None:
    said = ""
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        public = public_part(key)
        if key.key_size not in _RSA_BITS:
            said = f"has {key.key_size} bits; RSA takes {_RSA_BITS[0]} to {_RSA_BITS[-1]}"
        elif public.public_numbers().e > _MAX_EXPONENT:
            said = "has an exponent that is too large"
    elif isinstance(key, bytes) and len(key) < _MIN_SHARED_BYTES:
        said = f"has fewer than {_MIN_SHARED_BYTES} bytes"
    elif not algorithms_of(key):
        said = "is of a kind that is not for signatures here"
    if said:
        raise RequestFailed(f"The key of {where} {said}.", "wrong-key")

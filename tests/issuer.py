"""A small OpenID Connect issuer on this machine, with real keys."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from tests.loopback import Handler, Loopback, serving

AUDIENCE = "async-engine"
CLIENT_ID, CLIENT_SECRET = "configuration-manager", "a secret: of 20 % length"
DISCOVERY, KEYS = "/.well-known/openid-configuration", "/keys"
AUTHORIZE, TOKEN = "/authorize", "/token"


@lru_cache
def private_key(algorithm: str, number: int) -> Any:
    """Return a key for the algorithm; the number tells several apart. Making RSA keys is slow."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm.startswith("ES"):
        curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
        return ec.generate_private_key(curves[algorithm])
    return rsa.generate_private_key(65537, 2048)


def public_jwk(algorithm: str, kid: str, number: int = 0) -> dict[str, Any]:
    family = get_default_algorithms()[algorithm]
    key: dict[str, Any] = family.to_jwk(private_key(algorithm, number).public_key(), as_dict=True)
    return {**key, "kid": kid, "use": "sig"}


@dataclass
class Issuer:
    """What the issuer answers; `keys` are the public ones, by their ids."""

    server: Loopback
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    # The claims of the user that logs in, or the error that the issuer sends back.
    user: dict[str, Any] = field(default_factory=lambda: {"sub": "subject-1"})
    error: str = ""
    # What is odd about ID tokens: claims, and the number of the key.
    odd_claims: dict[str, Any] = field(default_factory=dict)
    number: int = 0
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.server.url("/realm").removesuffix("/")

    def count(self, path: str) -> int:
        paths = [each.path.partition("?")[0] for each in self.server.received]
        return paths.count(f"/realm{path}")

    def claims(self, **more: Any) -> dict[str, Any]:
        """Return claims that are good for the API; None leaves one out."""
        now = int(time.time())
        times = {"iat": now, "nbf": now, "exp": now + 300}
        given = {"iss": self.url, "aud": AUDIENCE, "sub": "subject-1", **times, **more}
        return {name: value for name, value in given.items() if value is not None}

    def token(
        self,
        algorithm: str = "RS256",
        *,
        number: int = 0,
        headers: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        given = {"kid": algorithm, "typ": "at+jwt", **(headers or {})}
        kept = {name: value for name, value in given.items() if value is not None}
        key = private_key(algorithm, number)
        return jwt.encode(self.claims(**claims), key, algorithm, headers=kept)

    def is_down(self) -> None:
        for path in (DISCOVERY, KEYS, TOKEN):
            self.server.answers(f"/realm{path}", 503)

    def is_up(self) -> None:
        pages = {DISCOVERY: self._discovery, KEYS: self._keys}
        pages |= {AUTHORIZE: self._authorize, TOKEN: self._token}
        for path, page in pages.items():
            self.server.pages[f"/realm{path}"] = page

    # --- pages -------------------------------------------------------------------------------

    def _discovery(self, handler: Handler) -> None:
        places = {
            "jwks_uri": KEYS,
            "authorization_endpoint": AUTHORIZE,
            "token_endpoint": TOKEN,
        }
        found = {name: f"{self.url}{path}" for name, path in places.items()}
        _answer(handler, 200, {"issuer": self.url, **found, **self.metadata})

    def _keys(self, handler: Handler) -> None:
        _answer(handler, 200, {"keys": [*self.keys.values()]})

    def _authorize(self, handler: Handler) -> None:
        """Log `user` in at once, and lead the browser back."""
        asked = _single(urlsplit(handler.path).query)
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        back = {"error": self.error} if self.error else {"code": code}
        query = urlencode({**back, "state": asked["state"], "iss": self.url})
        handler.answer(302, b"", {"Location": f"{asked['redirect_uri']}?{query}"})

    def _token(self, handler: Handler) -> None:
        sent = _single(self.server.received[-1].body.decode())
        asked = self.codes.pop(sent.get("code", ""), None)
        if asked is None or not self._is_client(handler, sent) or not _proves(sent, asked):
            _answer(handler, 400, {"error": "invalid_grant"})
            return
        nonce = {"aud": CLIENT_ID, "nonce": asked["nonce"]}
        claims = {**nonce, **self.user, **self.odd_claims}
        given = {"id_token": self.token(number=self.number, headers={"typ": "JWT"}, **claims)}
        access = self.token(**self.user)
        _answer(handler, 200, {**given, "access_token": access, "token_type": "Bearer"})

    def _is_client(self, handler: Handler, sent: dict[str, str]) -> bool:
        if "token_endpoint_auth_methods_supported" in self.metadata:
            in_body = (sent.get("client_id"), sent.get("client_secret"))
            return in_body == (CLIENT_ID, CLIENT_SECRET) and "Authorization" not in handler.headers
        text = f"{CLIENT_ID}:{CLIENT_SECRET}".encode()
        return handler.headers["Authorization"] == f"Basic {base64.b64encode(text).decode()}"


def _proves(sent: dict[str, str], asked: dict[str, str]) -> bool:
    """Say whether the code is redeemed by the browser's own server: the proof of PKCE."""
    digest = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return (
        asked["code_challenge_method"] == "S256"
        and asked["code_challenge"] == challenge
        and sent["redirect_uri"] == asked["redirect_uri"]
        and asked["client_id"] == CLIENT_ID
    )


def _single(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query).items()}


def _answer(handler: Handler, status: int, document: Any) -> None:
    body = json.dumps(document).encode()
    handler.answer(status, body, {"Content-Type": "application/json"})


@contextmanager
def issuing(*algorithms: str) -> Iterator[Issuer]:
    """Run an issuer that names a key for each of the algorithms."""
    with serving() as server:
        issuer = Issuer(server)
        issuer.keys = {each: public_jwk(each, each) for each in algorithms or ("RS256",)}
        issuer.is_up()
        yield issuer

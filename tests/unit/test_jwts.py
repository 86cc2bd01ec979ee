"""Tokens of an issuer: one wrong letter is enough to refuse one."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from flows.identity.errors import TokenRefused
from flows.identity.jwts import verified
from tests.issuer import private_key, public_jwk

ISSUER, AUDIENCE = "https://id.example.org/realm", "engine"
SIGNED_WITH = ["RS256", "PS384", "ES256", "EdDSA"]
KEYS = [public_jwk(algorithm, algorithm) for algorithm in SIGNED_WITH]
ALPHABET = "ABCZabcz019-_.= "


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    times = {"iat": now, "nbf": now, "exp": now + 300}
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "subject", **times, **more}
    return {name: value for name, value in given.items() if value is not None}


def signed(algorithm: str = "RS256", *, number: int = 0, typ: Any = "at+jwt", **more: Any) -> str:
    headers = {"kid": algorithm, "typ": typ}
    key = private_key(algorithm, number)
    return jwt.encode(claims(**more), key, algorithm, headers=headers)


def part(document: Any) -> str:
    return urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def unsigned(**more: Any) -> str:
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims(**more))}."


def signed_with_the_public_key() -> str:
    """Use the public key as the secret of HS256, which a careless check would take."""
    public = private_key("RS256", 0).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    secret = public.public_bytes(serialization.Encoding.PEM, form)
    text = f"{part({'alg': 'HS256', 'kid': 'RS256', 'typ': 'JWT'})}.{part(claims())}"
    digest = hmac.digest(secret, text.encode(), hashlib.sha256)
    return f"{text}.{urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def check(token: str) -> Any:
    return verified(token, KEYS, ISSUER, AUDIENCE)


@pytest.mark.parametrize("algorithm", SIGNED_WITH)
@pytest.mark.parametrize("typ", ["at+jwt", "JWT", "application/at+jwt"])
def test_good_token_is_taken(algorithm, typ):
    assert check(signed(algorithm, typ=typ)).subject == "subject"


def test_one_of_several_audiences_is_enough():
    assert check(signed(aud=["another", AUDIENCE])).subject == "subject"


@pytest.mark.parametrize("name", ["iat", "nbf"])
def test_claim_that_only_bounds_the_beginning_may_be_missing(name):
    assert check(signed(**{name: None})).subject == "subject"


def test_clocks_may_differ_by_a_minute():
    now = time.time()

    assert check(signed(exp=now - 50)).subject == "subject"
    assert check(signed(nbf=now + 50, iat=now + 50)).subject == "subject"


REFUSED = {
    "no signature": unsigned,
    "the public key as a secret": signed_with_the_public_key,
    "another key": lambda: signed(number=1),
    "expired": lambda: signed(exp=time.time() - 61),
    "without an end": lambda: signed(exp=None),
    "an end that is no number": lambda: signed(exp="tomorrow"),
    "not yet valid": lambda: signed(nbf=time.time() + 120),
    "issued tomorrow": lambda: signed(iat=time.time() + 86_400),
    "another audience": lambda: signed(aud="another"),
    "without an audience": lambda: signed(aud=None),
    "no audience": lambda: signed(aud=[]),
    "another issuer": lambda: signed(iss=f"{ISSUER}/"),
    "without an issuer": lambda: signed(iss=None),
    "without a subject": lambda: signed(sub=None),
    "an empty subject": lambda: signed(sub=""),
    "a subject with NUL": lambda: signed(sub="a\0b"),
    "a subject that is too long": lambda: signed(sub="x" * 256),
    "a logout token": lambda: signed(typ="logout+jwt"),
    "a proof of possession": lambda: signed(typ="dpop+jwt"),
    "too long": lambda: signed(filler="x" * 20_000),
    "empty parts": lambda: "..",
    "padded": lambda: signed() + "=",
    "no JSON": lambda: f"{part('text')}.{part(claims())}.AAAA",
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_bad_token_is_refused(make):
    with pytest.raises(TokenRefused):
        check(make())


def test_key_for_one_algorithm_verifies_no_other():
    keys = [{**public_jwk("RS256", "RS256"), "alg": "RS256"}]

    with pytest.raises(TokenRefused):
        verified(signed("ES256"), keys, ISSUER, AUDIENCE)


@given(st.data(), st.sampled_from(SIGNED_WITH))
def test_token_with_one_change_is_refused(data, algorithm):
    token = TOKENS[algorithm]
    place = data.draw(st.integers(0, len(token) - 1))
    end = data.draw(st.integers(place, min(place + 3, len(token))))
    new = data.draw(st.text(ALPHABET, max_size=3))
    changed = token[:place] + new + token[end:]

    if changed != token:
        with pytest.raises(TokenRefused):
            check(changed)


TOKENS = {algorithm: signed(algorithm) for algorithm in SIGNED_WITH}


@given(st.text(max_size=60))
def test_any_text_is_refused(text):
    with pytest.raises(TokenRefused):
        check(text)

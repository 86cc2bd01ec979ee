"""Signatures and tokens that scripts have made and verified, with keys that stay outside."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from scripts.protocol.services import CACHE_SERVICE, RequestFailed
from scripts.services.shared_values import SharedValues
from scripts.services.signatures import Signatures
from tests.hosts.zygotes import Zygotes
from tests.waiting import PATIENCE

RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
EC384_KEY = ec.generate_private_key(ec.SECP384R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii"))


def public(key: Any) -> str:
    written = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return str(written.decode("ascii"))


def jwks(*named: tuple[str, Any]) -> dict[str, Any]:
    keys = []
    for name, key in named:
        kind = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
        keys.append({**kind.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"})
    return {"keys": keys}


SECRETS = {
    "rsa": pem(RSA_KEY),
    "ec": pem(EC_KEY),
    "ec384": pem(EC384_KEY),
    "ed": pem(ED_KEY),
    "jwk": json.dumps({**RSAAlgorithm.to_jwk(RSA_KEY, as_dict=True), "kid": "of-may"}),
    "small": pem(rsa.generate_private_key(65537, 1024)),
    "dsa": pem(dsa.generate_private_key(1024)),
    "shared": "a shared key of more than thirty-two bytes, for the tests of HMAC, long for all",
    "public": public(RSA_KEY),
    "broken": "-----BEGIN PRIVATE KEY-----\nc3dvcmRmaXNo\n-----END PRIVATE KEY-----",
}


def secret(program: Program, request: dict[str, Any], deadline: float) -> dict[str, Any]:
    if request["name"] not in SECRETS:
        raise RequestFailed(f"There is no secret {request['name']!r}.", "unknown")
    return {"value": SECRETS[request["name"]]}


@pytest.fixture(scope="module")
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    pool = HostPool(services=lambda: {"sign": Signatures(secret)})
    zygotes.lend_to(pool)
    yield pool
    pool.close()


def run(pool: HostPool, language: str, code: str, payload: Any = None) -> Outcome:
    if language == "python":
        code = f"def run(message, context):\n    given = message['payload']\n    return {code}"
    else:
        code = f"const given = context.Data.payload; setData({code})"
    program = Program(1, "pricing", language, code, 20, 256, secrets=tuple(SECRETS))
    site = CallSite("orders", "price", "to-price", is_last=True)
    body = json.dumps({"payload": payload}).encode()
    pool.submit(program, site, [Call("key", "c", 1, "d", body)], 1)
    (outcome,) = pool.collect(PATIENCE)
    return outcome


def result(pool: HostPool, language: str, code: str, payload: Any = None) -> Any:
    outcome = run(pool, language, code, payload)
    assert outcome.error is None, outcome.error
    return json.loads(outcome.output or b"")


# The signature in base64, whatever the language.
SIGN = {
    "python": "__import__('base64').b64encode(context.sign({0!r}, {1!r}, 'päid')).decode()",
    "javascript": "await context.sign({0!r}, {1!r}, 'päid')",
}


@pytest.mark.parametrize("language", SIGN)
def test_a_script_signs_with_keys_that_others_verify(pool: HostPool, language: str) -> None:
    data = "päid".encode()

    def signature(name: str, key: str) -> bytes:
        return b64decode(result(pool, language, SIGN[language].format(name, key)))

    for name, hash_ in (("RS256", hashes.SHA256()), ("RS512", hashes.SHA512())):
        signed = signature(name, "rsa")
        RSA_KEY.public_key().verify(signed, data, padding.PKCS1v15(), hash_)
    # A key in a JWK is the same key.
    assert signature("RS256", "jwk") == signature("RS256", "rsa")
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
    RSA_KEY.public_key().verify(signature("PS256", "rsa"), data, pss, hashes.SHA256())
    ED_KEY.public_key().verify(signature("EdDSA", "ed"), data)
    assert len(signature("ES256", "ec")) == 64
    assert len(signature("ES384", "ec384")) == 96


@pytest.mark.parametrize(
    ("language", "code"),
    [
        (
            "python",
            "[context.verify('ES256', None, b'paid', given['der'], public_key=given['key']),"
            " context.verify('ES256', 'ec', 'paid', given['der']),"
            " context.verify('ES256', 'ec', 'paid', context.sign('ES256', 'ec', b'paid')),"
            " context.verify('ES256', 'ec', 'paid', context.sign('ES256', 'ec', 'paid', der=True)),"
            " context.verify('ES256', 'ec', 'other', given['der']),"
            " context.verify('RS256', 'rsa', 'paid', 'AAAA'),"
            " context.verify('HS256', 'shared', 'paid', given['der'])]",
        ),
        (
            "javascript",
            "[await context.verify('ES256', null, new Uint8Array([112, 97, 105, 100]), given.der,"
            " {publicKey: given.key}), await context.verify('ES256', 'ec', 'paid', given.der),"
            " await context.verify('ES256', 'ec', 'paid',"
            "  await context.sign('ES256', 'ec', 'paid')),"
            " await context.verify('ES256', 'ec', 'paid',"
            "  await context.sign('ES256', 'ec', 'paid', {der: true})),"
            " await context.verify('ES256', 'ec', 'other', given.der),"
            " await context.verify('RS256', 'rsa', 'paid', 'AAAA'),"
            " await context.verify('HS256', 'shared', 'paid', given.der)]",
        ),
    ],
)
def test_a_script_verifies_with_a_secret_or_a_public_key(
    pool: HostPool, language: str, code: str
) -> None:
    der = b64encode(EC_KEY.sign(b"paid", ec.ECDSA(hashes.SHA256()))).decode()

    checked = result(pool, language, code, {"der": der, "key": public(EC_KEY)})

    assert checked == [True, True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("language", "code"),
    [
        (
            "python",
            "[context.jwt({'iss': 'bank', 'aud': 'api'}, 'jwk', headers={'typ': 'at'}, expires=60),"
            " context.jwt({'sub': 'me'}, 'ec', 'ES256'),"
            " context.jwt({'sub': 'me'}, 'shared', algorithm='HS256')]",
        ),
        (
            "javascript",
            "await Promise.all([context.jwt({iss: 'bank', aud: 'api'}, 'jwk',"
            " {headers: {typ: 'at'}, expires: 60}),"
            " context.jwt({sub: 'me'}, 'ec', {algorithm: 'ES256'}),"
            " context.jwt({sub: 'me'}, 'shared', {algorithm: 'HS256'})])",
        ),
    ],
)
def test_a_script_makes_tokens(pool: HostPool, language: str, code: str) -> None:
    before = int(time.time())

    by_rsa, by_curve, shared = result(pool, language, code)

    key: Any = RSA_KEY.public_key()
    claims = jwt.decode(by_rsa, key, algorithms=["RS256"], audience="api")
    assert claims["iss"] == "bank"
    assert claims["exp"] == claims["iat"] + 60 >= before + 60
    assert jwt.get_unverified_header(by_rsa) == {"alg": "RS256", "typ": "at", "kid": "of-may"}
    assert jwt.decode(by_curve, EC_KEY.public_key(), algorithms=["ES256"]) == {"sub": "me"}
    assert jwt.decode(shared, SECRETS["shared"], algorithms=["HS256"]) == {"sub": "me"}


@pytest.mark.parametrize(
    ("language", "code"),
    [
        (
            "python",
            "[context.verify_jwt(given['token'], public_key=given['keys'], audience='api'),"
            " context.verify_jwt(given['token'], 'rsa', algorithms=['RS256'])]",
        ),
        (
            "javascript",
            "[await context.verifyJwt(given.token, null, {publicKey: given.keys, audience: 'api'}),"
            " await context.verifyJwt(given.token, 'rsa', {algorithms: ['RS256']})]",
        ),
    ],
)
def test_a_script_verifies_a_token_by_a_set_of_keys(
    pool: HostPool, language: str, code: str
) -> None:
    claims = {"sub": "me", "aud": ["api"], "exp": int(time.time()) + 3600}
    token = jwt.encode(claims, RSA_KEY, "RS256", headers={"kid": "two"})
    keys = jwks(("one", EC_KEY), ("two", RSA_KEY))

    assert result(pool, language, code, {"token": token, "keys": keys}) == [claims, claims]


@pytest.mark.parametrize("options", [{}, {"algorithms": ["ES256", "RS256"]}])
def test_a_token_without_a_name_is_verified_by_the_keys_of_its_kind(options: Any) -> None:
    keys = jwks(("one", EC_KEY), ("two", RSA_KEY))
    for each in keys["keys"]:
        del each["kid"]

    for token in (forged({}), forged({}, EC_KEY, "ES256")):
        reply = ask({"what": "verifyJwt", "token": token, "publicKey": keys, **options})
        assert json.loads(reply["text"]) == {}


def forged(claims: dict[str, Any], key: Any = RSA_KEY, name: str = "RS256", **header: Any) -> str:
    return jwt.encode(claims, key, name, headers=header)


@pytest.mark.parametrize(
    ("token", "options", "kind"),
    [
        (forged({"exp": 1}), {}, "expired"),
        (forged({"nbf": 32503680000}), {}, "not-yet"),
        (forged({"aud": "x"}), {"audience": "api"}, "audience"),
        (forged({"iss": "x"}), {"issuer": "bank"}, "issuer"),
        (forged({}), {"audience": "api"}, "claim"),
        (forged({}, rsa.generate_private_key(65537, 2048)), {}, "signature"),
        (forged({}) + "x", {}, "token"),
        (forged({}, EC_KEY, "ES256"), {}, "algorithm"),
        (forged({}, "x" * 64, "HS256"), {}, "algorithm"),
        (jwt.encode({}, None, "none"), {}, "algorithm"),
        (forged({}), {"algorithms": ["PS256"]}, "algorithm"),
        (forged({}), {"algorithms": []}, "invalid"),
        (forged({}), {"leeway": -1}, "invalid"),
        ("no.token", {}, "token"),
        ("", {}, "token"),
        (forged({"exp": "never"}), {}, "token"),
    ],
    # The tokens are random, and each worker of the tests makes its own.
    ids=range(16),
)
def test_a_token_that_is_not_valid_says_why(token: str, options: dict[str, Any], kind: str) -> None:
    request = {"what": "verifyJwt", "token": token, "publicKey": public(RSA_KEY), **options}

    with pytest.raises(RequestFailed) as raised:
        ask(request)

    assert raised.value.kind == kind, raised.value


def ask(request: dict[str, Any]) -> dict[str, Any]:
    program = Program(1, "pricing", "python", "", 20, 256, secrets=tuple(SECRETS))
    return Signatures(secret)(program, request, time.monotonic() + 60)


@pytest.mark.parametrize(
    ("request_", "kind", "said"),
    [
        ({"algorithm": "RS256", "secret": "none"}, "unknown", "no secret 'none'"),
        ({"algorithm": "none", "secret": "rsa"}, "invalid", "RS256, RS384"),
        ({"algorithm": ["RS256"], "secret": "rsa"}, "invalid", "There is no algorithm"),
        ({"algorithm": "ES256", "secret": "rsa"}, "wrong-key", "not for ES256 but for RS256"),
        ({"algorithm": "HS256", "secret": "rsa"}, "wrong-key", "not for HS256"),
        ({"algorithm": "ES256", "secret": "ec384"}, "wrong-key", "but for ES384"),
        ({"algorithm": "RS256", "secret": "small"}, "wrong-key", "has 1024 bits"),
        ({"algorithm": "RS256", "secret": "dsa"}, "wrong-key", "not for signatures"),
        ({"algorithm": "RS256", "secret": "broken"}, "wrong-key", "cannot be read"),
        ({"algorithm": "RS256", "secret": "public"}, "wrong-key", "no private key"),
        ({"algorithm": "RS256", "secret": 5}, "invalid", "name of a secret"),
        ({"algorithm": "RS256", "secret": "rsa", "data": 5}, "invalid", "a text or bytes"),
        (
            {"algorithm": "RS256", "secret": "rsa", "data": None, "dataBase64": "€"},
            "invalid",
            "not written in base64",
        ),
    ],
)
def test_a_signature_that_cannot_be_made_says_why(
    request_: dict[str, Any], kind: str, said: str
) -> None:
    with pytest.raises(RequestFailed) as raised:
        ask({"what": "sign", "data": "x", **request_})

    assert raised.value.kind == kind
    assert said in str(raised.value)
    assert "c3dv" not in str(raised.value)


def test_a_shared_key_is_no_public_key() -> None:
    shared = json.dumps({"kty": "oct", "k": "c3dvcmRmaXNoc3dvcmRmaXNoc3dvcmRmaXNo"})
    slow = {"kty": "RSA", "n": jwks(("a", RSA_KEY))["keys"][0]["n"], "e": "AQAAAAAB"}

    odd: tuple[Any, ...] = (shared, "a text", slow, {"keys": []}, 5, {"keys": 5}, {"kty": "RSA"})
    for key in (*odd, {"keys": [{"kty": ["RSA"]}]}, {"kty": "EC", "crv": "P-1"}, "{", "-----BEGIN"):
        with pytest.raises(RequestFailed) as raised:
            ask({"what": "verifyJwt", "token": forged({}), "publicKey": key})
        assert raised.value.kind in {"wrong-key", "invalid"}


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "context.sign('RS256', 'ec', 'x')"),
        ("javascript", "await context.sign('RS256', 'ec', 'x')"),
    ],
)
def test_an_error_of_a_signature_names_the_key(pool: HostPool, language: str, code: str) -> None:
    error = run(pool, language, code).error

    assert "SignatureError" in str(error)
    assert "The key of the secret 'ec' is not for RS256 but for ES256." in str(error)


def test_signatures_go_beside_cached_values(zygotes: Zygotes) -> None:
    services: Any = {"sign": Signatures(secret), CACHE_SERVICE: SharedValues()}
    pool = HostPool(services=lambda: services)
    zygotes.lend_to(pool)
    code = (
        "await Promise.all([context.cached('a', 60, () => context.sign('HS256', 'shared', 'x')),"
        " context.sign('HS256', 'shared', 'x'), context.cached('b', 60, () => 5)])"
    )

    try:
        first, second, third = result(pool, "javascript", code)
    finally:
        pool.close()

    assert (first, third) == (second, 5)


DIGITS = '{"n":12345678901234567890123,"rate":1.50,"sum":1234567890123456.78}'


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("python", "context.verify_jwt(context.jwt(given, 'shared', 'HS256'), 'shared')"),
        (
            "javascript",
            "await context.verifyJwt(await context.jwt(given, 'shared', { algorithm: 'HS256' }),"
            " 'shared')",
        ),
    ],
)
def test_claims_keep_their_digits(pool: HostPool, language: str, code: str) -> None:
    if language == "python":
        script = f"def run(message, context):\n    given = message['payload']\n    return {code}"
    else:
        script = f"const given = context.Data.payload; setData({code})"
    program = Program(1, "pricing", language, script, 20, 256, secrets=tuple(SECRETS))
    site = CallSite("orders", "price", "to-price", is_last=True)
    body = f'{{"payload":{DIGITS}}}'.encode()

    pool.submit(program, site, [Call("key", "c", 1, "d", body)], 1)
    (outcome,) = pool.collect(PATIENCE)

    assert outcome.error is None
    assert outcome.output == DIGITS.encode()


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_token_of_others_keeps_its_digits(pool: HostPool, language: str) -> None:
    numbers = {"n": 12345678901234567890123, "i": 9007199254740993}
    token = jwt.encode(numbers, SECRETS["shared"], "HS256")
    verify = {"python": "context.verify_jwt", "javascript": "await context.verifyJwt"}[language]

    outcome = run(pool, language, f"{verify}(given, 'shared')", token)

    assert outcome.error is None
    assert json.loads(outcome.output or b"") == numbers


@pytest.mark.parametrize("claims", ["[1]", "5", "'x'"])
@pytest.mark.parametrize("language", ["python", "javascript"])
def test_claims_that_are_no_object_are_refused(pool: HostPool, language: str, claims: str) -> None:
    last = {"python": "'HS256'", "javascript": "{ algorithm: 'HS256' }"}[language]
    wait = {"python": "", "javascript": "await "}[language]

    outcome = run(pool, language, f"{wait}context.jwt({claims}, 'shared', {last})")

    assert outcome.error is not None


# What would be left out silently: the check that the script means is then not made.
LEFT_OUT = {
    "javascript": [
        ("context.verifyJwt('t', 'rsa', {audiences: 'api'})", "not audiences"),
        ("context.verifyJwt('t', 'rsa', {algorithm: 'RS256'})", "not algorithm"),
        ("context.verifyJwt('t', 'rsa', 'api')", "options must be an object"),
        ("context.verifyJwt('t', 'rsa', ['api'])", "options must be an object"),
        ("context.verifyJwt('t', 'rsa', {}, 'api')", "takes 3 arguments, not 4"),
        ("context.verifyJwt('t', 'rsa', {audience: undefined})", "audience without a value"),
        ("context.verifyJwt('t', 'rsa', {issuer: null})", "issuer without a value"),
        ("context.verifyJwt('t', 'rsa', {algorithms: null})", "algorithms without a value"),
        ("context.verifyJwt('t', 'rsa', {audience: 5})", "audience takes a text"),
        ("context.verify_jwt('t', 'rsa', {issuers: 'bank'})", "not issuers"),
        ("context.jwt({}, 'rsa', {expire: 5})", "not expire"),
        ("context.jwt({}, 'rsa', {expires: undefined})", "expires without a value"),
        ("context.jwt({}, 'rsa', {algorithm: undefined})", "algorithm without a value"),
        ("context.jwt({}, 'rsa', 'PS256')", "options must be an object"),
        ("context.jwt({}, 'rsa', 'PS256', {expires: 60})", "takes 3 arguments, not 4"),
        ("context.sign('RS256', 'rsa', 'x', {DER: true})", "not DER"),
        ("context.sign('ES256', 'ec', 'x', {der: 'false'})", "der must be true or false"),
        ("context.sign('ES256', 'ec', 'x', true)", "options must be an object"),
        ("context.verify('ES256', null, 'x', 'AA', {public_key: 'k'})", "not public_key"),
        ("context.verify('ES256', null, 'x', 'AA', 'key')", "options must be an object"),
    ],
    "python": [
        ("context.verify_jwt('t', 'rsa', audience=None)", "audience without a value"),
        ("context.verify_jwt('t', 'rsa', issuer=None)", "issuer without a value"),
        ("context.verify_jwt('t', 'rsa', algorithms=None)", "algorithms without a value"),
        ("context.verify_jwt('t', 'rsa', audience=[])", "audience takes a text"),
        ("context.verify_jwt('t', 'rsa', audience='')", "audience takes a text"),
        ("context.jwt({}, 'rsa', expires=None)", "expires without a value"),
        ("context.jwt({}, 'rsa', None)", "algorithm without a value"),
        ("context.jwt(['a'], 'rsa')", "The claims must be a dict, not list."),
        ("context.sign('ES256', 'ec', 'x', der='false')", "der must be True or False"),
    ],
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("language", "code", "said"),
    [(language, *each) for language, cases in LEFT_OUT.items() for each in cases],
)
def test_an_option_of_a_signature_that_would_be_left_out_is_an_error(
    pool: HostPool, language: str, code: str, said: str
) -> None:
    code = code.replace("'t'", repr(jwt.encode({}, RSA_KEY, "RS256")))

    error = run(pool, language, code if language == "python" else f"await {code}").error

    assert said in str(error)

"""Abuse of signatures: reaching the key, or keys of others; tokens that forge, requests that break.

The script is given the secret `own`, whose value the bait watches; `other` is that of another.
"""

from __future__ import annotations

from dataclasses import replace

from tests.abuse.attack import Attack, output

_REFUSED = r"ScriptRaised: SignatureError: .*"
_UNKNOWN = r"ScriptInvalid: SignatureError: There is no algorithm 'none': .*"
_NOT_GIVEN = r"ScriptInvalid: SignatureError: .*was not given.*"
# {"alg": "none"} and {}.
_UNSIGNED = "eyJhbGciOiJub25lIn0.e30."

SIGNATURES = {
    "the key in the memory of the host": Attack(
        output(r'"payload":\[\]'),
        """
        context.sign("HS256", "own", "data")
        context.jwt({"a": 1}, "own", "HS256")
        seen, found = 0, []
        for kept in gc.get_objects():
            for value in list(kept.values()) if type(kept) is dict else [kept]:
                if type(value) in (str, bytes) and b"of the bait" in repr(value).encode()[-60:]:
                    found.append(len(value))
        return found
        """,
    ),
    "the key of another script": Attack(_NOT_GIVEN, "context.sign('HS256', 'other', 'data')"),
    "a token by the key of another script": Attack(
        _NOT_GIVEN, "context.jwt({}, 'other', 'HS256')"
    ),
    "a forged request for the key of another script": Attack(
        output(r'"kind":"not-granted"'),
        """
        request = {"what": "sign", "algorithm": "HS256", "secret": "other", "data": "x"}
        return context._reply("sign", request)
        """,
    ),
    "the algorithm none": Attack(_UNKNOWN, "return context.jwt({}, 'own', 'none')"),
    "a token without a signature": Attack(
        _REFUSED, f"return context.verify_jwt('{_UNSIGNED}', 'own')"
    ),
    "a token without a signature that is allowed": Attack(
        _UNKNOWN, f"return context.verify_jwt('{_UNSIGNED}', 'own', algorithms=['none'])"
    ),
    "a token signed by its own header": Attack(
        r"ScriptInvalid: SignatureError: .*",
        "return context.jwt({}, 'own', 'HS256', headers={'alg': 'none'})",
    ),
    "a shared key that is given as a public one": Attack(
        _REFUSED, "return context.verify('HS256', None, 'x', b'x', public_key='x' * 40)"
    ),
    "giant claims": Attack(
        _REFUSED, "return context.jwt({'a': 'x' * 5_000_000}, 'own', 'HS256')"
    ),
    "claims that are nested without an end": Attack(
        r"ScriptInvalid: WrongArgument: .*",
        """
        claims = {}
        for _ in range(100_000):
            claims = {"a": claims}
        return context.jwt(claims, "own", "HS256")
        """,
    ),
    "forged claims that are nested without an end": Attack(
        output(r'"kind":"invalid"'),
        """
        claims = '{"a":' * 100_000 + "1" + "}" * 100_000
        request = {"what": "jwt", "algorithm": "HS256", "secret": "own", "claims": claims}
        return context._reply("sign", request)
        """,
    ),
    "a number of a million digits": Attack(
        r"(ScriptRaised: (SignatureError|ValueError|TypeError): .*|output: .*)",
        """
        claims = '{"a":' + "9" * 900_000 + "}"
        request = {"what": "jwt", "algorithm": "HS256", "secret": "own", "claims": claims}
        return len(str(context._reply("sign", request))) < 2_000_000
        """,
    ),
    "a time far beyond": Attack(
        r"ScriptInvalid: SignatureError: .*",
        "return context.jwt({}, 'own', 'HS256', expires=10.0 ** 300)",
    ),
    "requests of other kinds": Attack(
        output(r'"payload":\["invalid","invalid","invalid","invalid","invalid"\]'),
        """
        wrong = [[], {}, 7, None, "sign\\0"]
        return [context._reply("sign", {"what": each})["kind"] for each in wrong]
        """,
    ),
    "very many public keys": Attack(
        r"ScriptRaised: SignatureError: .*",
        f"""
        keys = {{"keys": [{{"kty": "RSA", "n": "AQAB", "e": "AQAB"}}] * 15_000}}
        return context.verify_jwt("{_UNSIGNED}", public_key=keys)
        """,
    ),
}  # fmt: skip
SIGNATURES = {name: replace(attack, secrets=("own",)) for name, attack in SIGNATURES.items()}

IN_JAVASCRIPT = {
    "the key of another script": Attack(
        _NOT_GIVEN, "await context.sign('HS256', 'other', 'data');"
    ),
    "a token without a signature": Attack(
        _UNKNOWN,
        f"await context.verifyJwt('{_UNSIGNED}', 'own', {{ algorithms: ['none'] }});",
    ),
    "giant claims": Attack(
        r"ScriptRaised: SignatureError: .*",
        "await context.jwt({ a: 'x'.repeat(5e6) }, 'own', { algorithm: 'HS256' });",
    ),
    "claims that change while they are read": Attack(
        output(r'"payload":"string"'),
        """
        let times = 0;
        const claims = { get a() { times += 1; return times; } };
        Object.prototype.toJSON = undefined;
        const token = await context.jwt(claims, "own", { algorithm: "HS256" });
        context.Data.payload = typeof token;
        setData(context.Data);
        """,
    ),
}
IN_JAVASCRIPT = {
    name: replace(attack, secrets=("own",), language="javascript")
    for name, attack in IN_JAVASCRIPT.items()
}

"""Values that hold the same parts many times: small in memory, giant as JSON. Each is refused where
a script gives it, before any of it is written.
"""

from __future__ import annotations

from dataclasses import replace

from tests.abuse.attack import OUT_OF_MEMORY, Attack

_WIDE = "part = 'x' * 10_000\nbomb = {'a': [[part] * 10_000] * 10_000}\n"
# No deeper than what is written fastest.
_DOUBLING = "bomb = {'a': 1}\nfor _ in range(200): bomb = {'a': bomb, 'b': bomb}\n"
_LONG_KEYS = "bomb = [{'k' * 10_000: 1}] * 1_000_000\n"
_OUTPUT = r"OutputInvalid: \$ has too many bytes as JSON; at most 8388608 are allowed\."
_REQUEST = r"A request may have 2097152 bytes as JSON, with bytes as base64\."


def _too_many(most: int) -> str:
    return rf".*\$ has too many bytes as JSON; at most {most} are allowed\."


def _each(given: dict[str, tuple[str, str]], made: dict[str, str]) -> dict[str, Attack]:
    """Return an attack for each place where a value is given, and each way to make a giant."""
    return {
        f"{name} {kind}": Attack(cause, bomb + code, secrets=("own",))
        for name, (cause, code) in given.items()
        for kind, bomb in made.items()
    }


GIVEN = {
    "an output": (_OUTPUT, "return bomb"),
    "a result": (_OUTPUT, "context.finish(bomb)"),
    "an output for a later step": (_OUTPUT, "context.go('later', message | {'payload': bomb})"),
    "the JSON of a request": (
        rf"ScriptRaised: HttpError: {_REQUEST}",
        "context.http.post('https://example.org', json=bomb)",
    ),
    "the claims of a token": (
        rf"ScriptRaised: SignatureError: {_REQUEST}",
        "context.jwt(bomb if type(bomb) is dict else {'a': bomb}, 'own', 'HS256')",
    ),
    "the headers of a token": (
        rf"ScriptRaised: SignatureError: {_REQUEST}",
        "context.jwt({}, 'own', 'HS256', headers={'a': bomb})",
    ),
    "a public key": (
        rf"ScriptRaised: SignatureError: {_REQUEST}",
        "context.verify('RS256', None, 'x', b'x', public_key={'a': bomb})",
    ),
    "a payload": (rf"OutputInvalid: {_too_many(1048576)}", "context.start('child', bomb)"),
    "a cached value": (
        rf"ScriptInvalid: WrongArgument: The cached value: {_too_many(65536)}",
        "context.cached('k', 5, lambda: bomb)",
    ),
    "a value of the state": (
        rf"ScriptInvalid: WrongChange: .*{_too_many(65536)}",
        "context.state.set('k', bomb)",
    ),
    "the state of a wait": (
        rf"OutputInvalid: The state of Wait: {_too_many(65536)}",
        "raise Wait(1, 'later', state=bomb)",
    ),
    "the details of a rejection": (r"ScriptRejected: no", "raise Reject('no', details=bomb)"),
}
PYTHON = _each(
    GIVEN, {"of shared parts": _WIDE, "that doubles": _DOUBLING, "with long keys": _LONG_KEYS}
) | {
    "text for the log": Attack(OUT_OF_MEMORY, f"{_WIDE}context.log(bomb)"),
    "text of an error": Attack(r"ScriptRaised: ValueError: .*", f"{_WIDE}raise ValueError(bomb)"),
    "data to be signed": Attack(
        rf"ScriptRaised: SignatureError: {_REQUEST}",
        "context.sign('HS256', 'own', 'x' * 10 ** 7)",
        secrets=("own",),
    ),
    "text in a body": Attack(
        rf"ScriptRaised: HttpError: {_REQUEST}",
        "context.http.post('https://example.org', data='x' * 10 ** 7)",
    ),
}

_WIDE_JS = (
    "const part = 'x'.repeat(10000);"
    " const bomb = { a: Array(10000).fill(Array(10000).fill(part)) };\n"
)
_DOUBLING_JS = "let bomb = { a: 1 }; for (let i = 0; i < 200; i++) bomb = { a: bomb, b: bomb };\n"
_LONG_KEYS_JS = "const bomb = Array(1e6).fill({ ['k'.repeat(10000)]: 1 });\n"


def _too_many_js(place: str, most: int) -> str:
    return rf"{place} has too many bytes as JSON; at most {most} are allowed\."


GIVEN_IN_JAVASCRIPT = {
    "an output": (_OUTPUT, "setData({ ...context.Data, payload: bomb });"),
    "a result": (_OUTPUT, "context.finish(bomb);"),
    "an output for a later step": (_OUTPUT, "context.go('later', bomb);"),
    "the JSON of a request": (
        rf"ScriptRaised: HttpError: {_REQUEST}",
        "await http.post('https://example.org', bomb);",
    ),
    "the claims of a token": (
        rf"ScriptRaised: SignatureError: {_REQUEST}",
        "await context.jwt(bomb, 'own', { algorithm: 'HS256' });",
    ),
    "the headers of a token": (
        rf"ScriptRaised: SignatureError: {_REQUEST}",
        "await context.jwt({}, 'own', { algorithm: 'HS256', headers: { a: bomb } });",
    ),
    "a public key": (
        rf"ScriptRaised: SignatureError: {_REQUEST}",
        "await context.verify('RS256', null, 'x', 'x', { publicKey: { a: bomb } });",
    ),
    "a payload": (
        rf"OutputInvalid: {_too_many_js('payload', 1048576)}",
        "await context.start('child', bomb);",
    ),
    "a cached value": (
        rf"ScriptInvalid: RangeError: {_too_many_js('the cached value', 65536)}",
        "await context.cached('k', 5, () => bomb);",
    ),
    "a value of the state": (
        rf"ScriptInvalid: RangeError: {_too_many_js('the value of the state', 65536)}",
        "await context.state.set('k', bomb);",
    ),
    "the state of a wait": (
        rf"OutputInvalid: {_too_many_js('state', 65536)}",
        "wait({ after: 1, state: bomb });",
    ),
    "the details of a rejection": (r"ScriptRejected: no", "reject('no', { details: bomb });"),
}
IN_JAVASCRIPT = {
    name: replace(attack, language="javascript")
    for name, attack in (
        _each(
            GIVEN_IN_JAVASCRIPT,
            {
                "of shared parts": _WIDE_JS,
                "that doubles": _DOUBLING_JS,
                "with long keys": _LONG_KEYS_JS,
            },
        )
        | {
            "value that is thrown": Attack(r"ScriptRaised: Thrown: .*", f"{_WIDE_JS}throw bomb;"),
            "data to be signed": Attack(
                rf"ScriptRaised: SignatureError: {_REQUEST}",
                "await context.sign('HS256', 'own', 'x'.repeat(1e7));",
                secrets=("own",),
            ),
            "text in a body": Attack(
                rf"ScriptRaised: HttpError: {_REQUEST}",
                "await http.post('https://example.org', 'x'.repeat(1e7));",
            ),
        }
    ).items()
}

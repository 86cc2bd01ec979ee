"""Abuse of the state of a flow: that of others, forged changes, giant ones and endless ones."""

from __future__ import annotations

from dataclasses import replace

from tests.abuse.attack import PROTOCOL_BROKEN, SECONDS, TIMED_OUT, Attack, exited, output

_CHANGE = "context.state.set('k', 1)\nchange = context.state._changes['k']\n"


def _invalid(said: str) -> str:
    return rf"ScriptInvalid: WrongChange: .*{said}.*"


STATES = {
    # The service of these tests tells whose state it was asked for: that of flow 0, their own.
    "the state of another flow": Attack(
        output("0"), "return context._reply('state', {'key': 'k', 'flow': 7})['text']"
    ),
    "a change with a giant key": Attack(
        PROTOCOL_BROKEN, _CHANGE + "object.__setattr__(change, 'key', 'k' * 500)"
    ),
    "a change of another kind": Attack(
        PROTOCOL_BROKEN, _CHANGE + "object.__setattr__(change, 'what', 'drop')"
    ),
    "a change that is no JSON": Attack(
        PROTOCOL_BROKEN, _CHANGE + "object.__setattr__(change, 'text', '{')"
    ),
    "a change with a version that none has": Attack(
        PROTOCOL_BROKEN, _CHANGE + "object.__setattr__(change, 'seen', -1)"
    ),
    "changes that are none": Attack(exited(70), "context.state._changes = {'k': 7}"),
    "a giant value": Attack(
        _invalid("too many bytes as JSON; at most 65536"), "context.state.set('k', 'x' * 10 ** 7)"
    ),
    "a giant value in many parts": Attack(
        _invalid("too many bytes as JSON; at most 65536"),
        "part = 'x' * 10_000\ncontext.state.set('k', {'a': [[part] * 10_000] * 10_000})",
    ),
    "a value within itself": Attack(
        _invalid("contains itself"),
        "value = []\nvalue.append(value)\ncontext.state.set('k', value)",
    ),
    "a deep value": Attack(
        _invalid("deep"),
        "value = []\nfor _ in range(5_000): value = [value]\ncontext.state.set('k', value)",
    ),
    "thousands of keys": Attack(
        _invalid("may change 100 keys"),
        "for n in range(10 ** 6): context.state.set(str(n), n)",
    ),
    "a number without end": Attack(
        r"ScriptRaised: StateInvalid: .*more than 100 characters.*",
        "while True: context.state.increment('k', 10 ** 98)",
    ),
    "reads without end": Attack(
        r"ScriptRaised: RuntimeError: A message may have 1000 requests\.",
        "for n in range(10 ** 6): context.state.get(str(n))",
    ),
}

IN_JAVASCRIPT = {
    name: replace(attack, language="javascript")
    for name, attack in {
        "a giant value": Attack(
            r"ScriptInvalid: RangeError: .*at most 65536 are allowed.*",
            "await context.state.set('k', 'x'.repeat(1e6));",
        ),
        "thousands of keys": Attack(
            r"ScriptInvalid: Error: .*may change 100 keys.*",
            "for (let n = 0; n < 1e6; n++) await context.state.set(String(n), n);",
        ),
        "a value that never ends": Attack(
            TIMED_OUT,
            "await context.state.set('k', { toJSON() { for (;;) {} } });",
            timeout_seconds=SECONDS,
        ),
        "other built-ins": Attack(
            output("0"),
            """
            JSON.parse = Promise.prototype.then = Object.keys = () => 7;
            setData({ ...context.Data, payload: await context.state.get("k") });
            """,
        ),
    }.items()
}

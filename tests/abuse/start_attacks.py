"""Abuse of `context.go` and `context.start`, and giant values where a script gives any."""

from __future__ import annotations

from dataclasses import replace

from tests.abuse.attack import PROTOCOL_BROKEN, SECONDS, TIMED_OUT, Attack, output

_REFUSED = r"ScriptInvalid: StepNotAllowed: .*it may go to 'next', 'later'.*"
_START_REFUSED = r"ScriptInvalid: StartRefused: .*"
_TOO_LARGE = r"OutputInvalid: .*too many bytes as JSON; at most 1048576.*"


def _forged(**changes: str) -> str:
    """Return code that sends a request past `context.start`, and gives back the reply."""
    request = {"flow": "'child'", "payload": "'{}'", "key": "None", "ordinal": "0"} | changes
    members = ", ".join(f"{name!r}: {value}" for name, value in request.items())
    return f"return context._reply('start', {{{members}}})"


# The service of these tests tells what it was asked for, and by which call.
_STARTED = output(r'"id":"flow step c-1 d-1 child')

STARTS = {
    "a flow of another name": Attack(_START_REFUSED, "context.start('other', {})"),
    "a flow with no name": Attack(_START_REFUSED, "context.start(['child'], {})"),
    "a start in the name of another call": Attack(
        _STARTED,
        _forged(parent="'c-2'", id="'c-2'", site="'other'", call="7", deliveryId="'d-2'"),
    ),
    "a start in the name of another flow": Attack(_STARTED, _forged(caller="'other'", depth="-5")),
    "a giant payload": Attack(_TOO_LARGE, "context.start('child', 'x' * 10 ** 7)"),
    "a payload bomb": Attack(
        _TOO_LARGE,
        "part = 'x' * 10_000\ncontext.start('child', [[part] * 10_000] * 10_000)",
    ),
    "a payload within itself": Attack(
        r"OutputInvalid: .*contains itself.*",
        "value = []\nvalue.append(value)\ncontext.start('child', value)",
    ),
    "a giant cached value": Attack(
        r"ScriptInvalid: WrongArgument: .*too many bytes as JSON; at most 65536.*",
        "context.cached('k', 5, lambda: 'x' * 10 ** 7)",
    ),
    "a giant state of a wait": Attack(
        r"OutputInvalid: The state of Wait: .*too many bytes as JSON; at most 65536.*",
        "raise Wait(1, 'later', state='x' * 10 ** 7)",
    ),
    "giant details of a rejection": Attack(
        r"ScriptRejected: no", "raise Reject('no', details='x' * 10 ** 7)"
    ),
    "starts without end": Attack(
        r"ScriptRaised: StartRefused: A message may have 1000 requests\.",
        "for n in range(10 ** 6): context.start('child', {})",
    ),
    "a number that was used": Attack(
        _START_REFUSED,
        "for _ in range(2):\n    context._started = 0\n    context.start('child', {})",
    ),
    "a start of the next call": Attack(
        rf"({PROTOCOL_BROKEN}|{TIMED_OUT}|ScriptRaised: .*|output: .*)",
        """
        context._number += 1
        context.start('child', {})
        """,
        timeout_seconds=SECONDS,
    ),
}  # fmt: skip

WAYS = {
    "a step of another flow": Attack(_REFUSED, "context.go('other', message)"),
    "a step that is itself": Attack(_REFUSED, "context.go('step', message)"),
    "a step that is before": Attack(_REFUSED, "context.go('first', message)"),
    "a step by its number": Attack(_REFUSED, "context.go(1, message)"),
    "a text that claims to be every step": Attack(
        _REFUSED,
        """
        class Every(str):
            __eq__ = lambda self, other: True
            __hash__ = lambda self: hash('next')
        context.go(Every('first'), message)
        """,
    ),
    "a way past the check": Attack(
        PROTOCOL_BROKEN, "context._goes_to, context._given = 'other', (message,)\nreturn 1"
    ),
    "a list of steps of its own": Attack(
        PROTOCOL_BROKEN, "context._steps = ('other',)\nreturn context.go('other', message)"
    ),
    "a giant name of a step": Attack(_REFUSED, "context.go('x' * 10 ** 7, message)"),
}
PYTHON = {**STARTS, **WAYS}

IN_JAVASCRIPT = {
    name: replace(attack, language="javascript")
    for name, attack in {
        "a flow of another name": Attack(
            r"ScriptInvalid: .*may start.*", "await context.start('other', {});"
        ),
        "a giant payload": Attack(_TOO_LARGE, "await context.start('child', 'x'.repeat(1e7));"),
        "starts without end": Attack(
            r"ScriptRaised: .*",
            "for (let n = 0; n < 1e6; n++) await context.start('child', {});",
        ),
        "a payload that never ends": Attack(
            TIMED_OUT,
            "await context.start('child', { toJSON() { for (;;) {} } });",
            timeout_seconds=SECONDS,
        ),
        "a step of another flow": Attack(
            r"ScriptInvalid: .*it may go to 'next', 'later'.*", "context.go('other', context.Data);"
        ),
        "a step that is itself": Attack(
            r"ScriptInvalid: .*it may go to 'next', 'later'.*", "context.go('step', context.Data);"
        ),
        "built-ins that are changed before a way": Attack(
            r"ScriptInvalid: .*it may go to 'next', 'later'.*",
            """
            Array.prototype.includes = Array.prototype.indexOf = Set.prototype.has = () => true;
            context.go("other", context.Data);
            """,
        ),
    }.items()
}

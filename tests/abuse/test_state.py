"""Scripts that leave something for their next message, which must not meet it."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator

import pytest

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from tests.hosts.pools import payload

SITE = CallSite("flow", "step", "queue", False)

# What a message does, and what shows that it was done.
PYTHON = {
    "a global": ("global left\nleft = 1", "'left' in globals()"),
    "a builtin": ("__builtins__['len'] = lambda _: 7", "len([]) == 7"),
    "a new builtin": ("__builtins__['left'] = 1", "'left' in __builtins__"),
    "a function of a module": ("json.dumps = lambda _: 'left'", "json.dumps(1) == 'left'"),
    "a new attribute of a module": ("json.left = 1", "hasattr(json, 'left')"),
    "a constant": ("math.pi = 3", "math.pi == 3"),
    "a submodule": ("json.decoder.left = 1", "hasattr(json.decoder, 'left')"),
    "a method": ("json.JSONEncoder.default = print", "json.JSONEncoder.default is print"),
    "a class attribute": ("collections.Counter.left = 1", "hasattr(collections.Counter, 'left')"),
    "the class of the context": ("type(context).log = print", "type(context).log is print"),
    "an attribute of Reject": ("Reject.left = 1", "hasattr(Reject, 'left')"),
    "a default argument": ("run.__defaults__ = (7,)", "run.__defaults__ == (7,)"),
    "the precision": ("decimal.getcontext().prec = 3", "decimal.getcontext().prec == 3"),
    "a trap": (
        "decimal.getcontext().traps[decimal.Inexact] = True",
        "decimal.getcontext().traps[decimal.Inexact]",
    ),
    "the seed": ("random.seed(7)", "random.random() == 0.32383276483316237"),
    "the state of random": (
        "random.setstate(random.Random(7).getstate())",
        "random.random() == 0.32383276483316237",
    ),
    "a context variable": (
        "decimal.localcontext().__enter__().prec = 2",
        "decimal.getcontext().prec == 2",
    ),
    "a list": ("kept.append(message)", "kept != []"),
}
JAVASCRIPT = {
    "a global": ("left = 1", "'left' in globalThis"),
    "a prototype": ("Object.prototype.left = 1", "'left' in {}"),
    "a method of arrays": ("Array.prototype.map = () => 7", "[].map((x) => x) === 7"),
    "a setter on all objects": (
        "Object.defineProperty(Object.prototype, 'payload', { set() {}, configurable: true })",
        "Object.getOwnPropertyDescriptor(Object.prototype, 'payload') !== undefined",
    ),
    "JSON": ("JSON.stringify = () => '1'", "JSON.stringify(2) === '1'"),
    "a promise": ("Promise.prototype.then = null", "Promise.prototype.then === null"),
    "undefined functions": ("setData.left = log.left = 1", "'left' in setData || 'left' in log"),
    "frozen globals": ("Object.freeze(globalThis)", "Object.isFrozen(globalThis)"),
    "a job": ("Promise.resolve().then(() => { globalThis.left = 1 })", "'left' in globalThis"),
    "a symbol": (
        "Symbol.for('left'); globalThis[Symbol.for('left')] = 1",
        "globalThis[Symbol.for('left')] === 1",
    ),
    "a cache in a function": ("ftos.logging.cache = 1", "'cache' in ftos.logging"),
}


@pytest.fixture(scope="module")
def pool() -> Iterator[HostPool]:
    pool = HostPool()
    yield pool
    pool.close()


def run_three_messages(pool: HostPool, language: str, code: str) -> list[Outcome]:
    """Run the script on three messages; the one in the middle leaves something."""
    program = Program(1, "script", language, code, 20, 128)
    outcomes: list[Outcome] = []
    for number, leaves in enumerate((False, True, False)):
        body = json.dumps({"correlationId": "c-1", "payload": leaves}).encode()
        pool.submit(program, SITE, [Call(number, "c-1", 1, "d-1", body)], 1)
        while len(outcomes) <= number:
            outcomes += pool.collect(5)
    return outcomes


@pytest.mark.parametrize("what", PYTHON)
def test_python_leaves_nothing_for_the_next_message(pool: HostPool, what: str) -> None:
    leave, is_left = PYTHON[what]
    code = f"""
import collections, decimal, json, math, random
os = json.codecs.sys.modules["os"]
kept = []
def run(message, context):
    if message["payload"]:
{textwrap.indent(leave, " " * 8)}
    return message | {{"payload": [os.getpid(), bool({is_left})]}}
"""

    before, leaving, after = run_three_messages(pool, "python", code)

    assert payload(before)[1] is False
    assert payload(after) == payload(before)  # the same host
    if leaving.error is None:
        assert payload(leaving)[1] is True
    else:
        assert re.search("all messages share the module|immutable type", str(leaving.error))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("what", JAVASCRIPT)
def test_javascript_leaves_nothing_for_the_next_message(pool: HostPool, what: str) -> None:
    leave, is_left = JAVASCRIPT[what]
    code = f"""
if (context.Data.payload) {{
    {leave};
    await null;
}}
setData({{ correlationId: "c-1", payload: {is_left} }});
"""

    outcomes = run_three_messages(pool, "javascript", code)

    assert [payload(outcome) for outcome in outcomes] == [False, True, False]

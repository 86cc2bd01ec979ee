"""Every value comes out of a script host as it went in, if the script leaves it alone."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings

from scripts.pool.host_pool import HostPool
from scripts.protocol.calls import Call, CallSite, Outcome, Program
from tests.documents import content, objects, values
from tests.examples import examples
from tests.hosts.zygotes import Zygotes
from tests.waiting import PATIENCE

CORRELATION_ID = "0190a1b2-0000-7000-8000-000000000001"
UNTOUCHED = {
    "python": "def run(message, context):\n    return message\n",
    "javascript": "setData(context.Data);",
}
ODD = (
    '{"a":1.0,"b":[1e5,-0,-0.0,0.30000000000000004,1234567890123456.78,0.10,1E-7,1e-400],'
    '"c":123456789012345678901234567890,"d":12345678901234567890.12345678901234567890}'
)

RunOn = Callable[..., Outcome]


@pytest.fixture(scope="module")
def pool(zygotes: Zygotes) -> Iterator[HostPool]:
    pool = HostPool()
    zygotes.lend_to(pool)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def run_on(pool: HostPool) -> RunOn:
    def run_on(language: str, code: str, payload: str, is_last: bool = False) -> Outcome:
        body = f'{{"correlationId":"{CORRELATION_ID}","payload":{payload}}}'.encode()
        call = Call("key", CORRELATION_ID, 1, "d", body)
        program = Program(1, "values", language, code, 20, 256)
        pool.submit(program, CallSite("f", "s", "q", is_last), [call], 1)
        [outcome] = pool.collect(PATIENCE)
        return outcome

    return run_on


def output(outcome: Outcome) -> str:
    assert outcome.error is None, outcome.error
    assert outcome.output is not None
    return outcome.output.decode()


def payload(outcome: Outcome) -> Any:
    [_, (_, value)] = content(output(outcome))[1]
    return value


@pytest.mark.parametrize("language", UNTOUCHED)
@given(objects())
@example(ODD)
@example('{"2":1,"b":2.50,"1":{"9":[{"3":0,"x":1.0,"2":0}],"8":1.0},"__proto__":{"1":1,"0":2.0}}')
@example('{"deep":' + '{"a":[' * 60 + "1.50" + "]}" * 60 + "}")
@example('{"same":[1.0,1,1.00,1e0],"n":1.0,"o":{"n":1}}')
@settings(max_examples=examples(25), deadline=None)
def test_message_that_a_script_returns_is_as_it_came(
    run_on: RunOn, language: str, document: str
) -> None:
    outcome = run_on(language, UNTOUCHED[language], document)

    assert payload(outcome) == content(document)


LAST = {
    "python": "def run(message, context):\n    return message['payload']\n",
    "javascript": "setData(context.Data.payload);",
}


@pytest.mark.parametrize("language", LAST)
@given(values())
@example("1.0")
@example("-0")
@example("1234567890123456.78")
@settings(max_examples=examples(15), deadline=None)
def test_any_part_of_a_message_may_be_the_result(run_on: RunOn, language: str, value: str) -> None:
    outcome = run_on(language, LAST[language], f'{{"v":{value}}}', is_last=True)

    assert content(output(outcome)) == content(f'{{"v":{value}}}')


COPIES = {
    "python": [
        "dict(p)",
        "{**p}",
        "copy.copy(p)",
        "copy.deepcopy(p)",
        "{name: p[name] for name in p}",
        "types.SimpleNamespace(**p).__dict__",
    ],
    "javascript": [
        "{...p}",
        "Object.assign({}, p)",
        "Object.fromEntries(Object.entries(p))",
        "{ a: p.a, b: [...p.b], c: p.c, d: p.d }",
        "copyOf(p)",
    ],
}
AROUND = {
    "python": "import copy, types\ndef run(message, context):\n    p = message['payload']\n"
    "    return {**message, 'payload': %s}\n",
    "javascript": "const copyOf = (v) => Array.isArray(v) ? v.map(copyOf) : typeof v !== 'object'"
    " ? v : Object.keys(v).reduce((copy, key) => (copy[key] = copyOf(v[key]), copy), {});\n"
    "const p = context.Data.payload; setData({ ...context.Data, payload: %s });",
}


@pytest.mark.parametrize(
    ("language", "copy"), [(language, copy) for language in COPIES for copy in COPIES[language]]
)
def test_copied_members_are_written_as_they_came(run_on: RunOn, language: str, copy: str) -> None:
    document = '{"a":1.0,"b":[12.50,1e-7,1234567890123456.78],"c":1e400,"d":-0}'
    document = document.replace("1e400", "12345678901234567890123")

    outcome = run_on(language, AROUND[language] % copy, document)

    assert payload(outcome) == content(document)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("type(p['a']) is float and p['a'] + 1", "2.0"),
        ("isinstance(p['d'], int) and p['d'] * 1", "0"),
        ("p['b'][0] * 2", "25.0"),
        ("repr(p['b'][0])", '"12.5"'),
        ("str(p['d'])", '"0"'),
        ("json.dumps(p['b'][0])", '"12.5"'),
        ("round(p['b'][0], 1)", "12.5"),
        ("max(p['b'][0], 1)", "12.50"),
        ("type(p['d']).__name__", '"int"'),
        ("[p['a'] == 1, p['d'] == 0, bool(p['d']), list(range(p['d']))]", "[true,true,false,[]]"),
        ("p['c'] + 1", "12345678901234567890124"),
    ],
)
def test_python_computes_with_ordinary_numbers(run_on: RunOn, expression: str, value: str) -> None:
    code = (
        "import json\ndef run(message, context):\n    p = message['payload']\n"
        f"    return {{**message, 'payload': {expression}}}\n"
    )

    outcome = run_on("python", code, '{"a":1.0,"b":[12.50],"c":12345678901234567890123,"d":-0}')

    assert payload(outcome) == content(value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("typeof p.a === 'number' && p.a + 1", "2"),
        ("p.b[0] === 12.5 && p.b[0] * 2", "25"),
        ("String(p.b[0])", '"12.5"'),
        ("Object.is(p.d, -0)", "true"),
        ("p.c + 1n", "12345678901234567890124"),
        ("[p.b.length, Array.isArray(p.b), p.b.map(n => n + 1)]", "[1,true,[13.5]]"),
        ("Object.keys(p).length + p.b.filter(n => n > 1).length", "5"),
        # What was 1.0 is where it was; a count is no decimal.
        ("{ a: p.a, count: [1].length, list: [1] }", '{"a":1.0,"count":1,"list":[1]}'),
        ("(p.a = 2, p.b[0] = 3.25, p)", '{"a":2,"b":[3.25],"c":12345678901234567890123,"d":-0}'),
    ],
)
def test_javascript_computes_with_ordinary_numbers(
    run_on: RunOn, expression: str, value: str
) -> None:
    code = f"const p = context.Data.payload; setData({{ ...context.Data, payload: {expression} }});"

    outcome = run_on("javascript", code, '{"a":1.0,"b":[12.50],"c":12345678901234567890123,"d":-0}')

    assert payload(outcome) == content(value)


def test_javascript_keeps_the_order_of_keys_that_are_integers(run_on: RunOn) -> None:
    code = (
        "const p = context.Data.payload; delete p['7']; p['5'] = 1.50; p.z = 1;"
        " setData(context.Data);"
    )

    outcome = run_on("javascript", code, '{"9":1.0,"b":{"2":1,"1":1},"7":0,"1":2}')

    assert payload(outcome) == content('{"9":1.0,"b":{"2":1,"1":1},"1":2,"5":1.5,"z":1}')


def test_frozen_message_goes_out_as_it_came(run_on: RunOn) -> None:
    code = (
        "const p = context.Data.payload; Object.defineProperty(p, Symbol('s'), { value: 1 });"
        "Object.defineProperty(p, 'hidden', { value: 1 });"
        "Object.freeze(p); setData(Object.freeze(context.Data));"
    )

    outcome = run_on("javascript", code, '{"9":1.0,"b":2.50,"1":2}')

    assert payload(outcome) == content('{"9":1.0,"b":2.50,"1":2}')


def test_two_decimals_with_one_double_are_not_mixed_up(run_on: RunOn) -> None:
    document = '{"x":1234567890123456.78,"y":1234567890123456.8}'
    code = "const { x, y } = context.Data.payload; setData({ x, y });"

    outcome = run_on("javascript", code, document, is_last=True)

    assert json.loads(output(outcome)) == {"x": 1234567890123456.8, "y": 1234567890123456.8}

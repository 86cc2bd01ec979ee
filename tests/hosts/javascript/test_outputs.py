"""The output."""

from typing import Any

import pytest

from scripts.host.context import Context
from scripts.host.languages.javascript import JavaScriptScript
from scripts.host.log import CallLog
from scripts.protocol.envelope import encode
from scripts.protocol.errors import (
    OutputInvalid,
)
from tests.hosts.javascript.helpers import Replies, run


def test_output_is_copied_at_once_and_the_last_one_counts() -> None:
    code = "const m = { a: 1 }; setData('first'); setData(m); m.a = 2;"

    assert run(code) == {"a": 1}


def test_data_that_is_no_output_any_more_may_be_given_again() -> None:
    assert run("try { setData({ a: NaN }) } catch (e) { setData(e.message) }") == (
        "$.a is NaN, which JSON cannot hold."
    )


@pytest.mark.parametrize(
    "code", ["// setData", "if (context.Data.no) setData(1)", "log(context.Data)", ""]
)
def test_script_that_gives_no_output_is_told_of_set_data(code: str) -> None:
    with pytest.raises(OutputInvalid, match=r"The script did not call setData\(output\)"):
        run(code)


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("{ a: undefined, b: [null, 1] }", {"b": [None, 1]}),
        ("['a1'.match(/[a-z]([0-9])/)]", [["a1", "1"]]),
        ("new Date(0)", "1970-01-01T00:00:00.000Z"),
        ("{ toJSON() { return { a: 1 } } }", {"a": 1}),
        ("new (class Order { constructor() { this.id = 1 } get x() { return 2 } })", {"id": 1}),
        ("Object.assign(Object.create(null), { a: 1 })", {"a": 1}),
        ("JSON.parse('{\"__proto__\": 1}')", {"__proto__": 1}),
        ("[new Number(1), new String('s'), new Boolean(false)]", [1, "s", False]),
        ("[1e21, -0, 1.5, 0.1 + 0.2, 5e-324]", [1e21, 0, 1.5, 0.1 + 0.2, 5e-324]),
        ("2n ** 70n", 2**70),
        ("'\\\\u0000 \\\\ud800 \U0001f600 null'", "\\u0000 \\ud800 \U0001f600 null"),
        ("{ length: -1, '\\\\u0000': 1 }", {"length": -1, "\\u0000": 1}),
        ("null", None),
    ],
)
def test_output_is_what_json_makes_of_it(value: str, output: Any) -> None:
    assert run(f"setData({value})") == output


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{ items: [1, { amount: NaN }] }", "$.items[1].amount is NaN, which JSON cannot hold."),
        ("[-Infinity]", "$[0] is infinite, which JSON cannot hold."),
        ("{ f() {} }", "$.f is a function, which JSON cannot hold; call it."),
        ("{ 'a b': new Map() }", '$["a b"] is a Map, which JSON cannot hold; use Object.from'),
        ("[new Set()]", "$[0] is a Set, which JSON cannot hold; use Array.from()."),
        ("{ p: Promise.resolve(1) }", "$.p is a Promise, which JSON cannot hold; await it."),
        ("{ e: new TypeError('x') }", "$.e is an Error, which JSON cannot hold; use its message."),
        ("/x/", "$ is a RegExp, which JSON cannot hold; use its source."),
        ("new Uint8Array(2)", "$ is a Uint8Array, which JSON cannot hold; use Array.from()."),
        ("Symbol('x')", "$ is a symbol, which JSON cannot hold."),
        ("[new Date(NaN)]", "$[0] is an invalid Date."),
        ("undefined", "$ is undefined, which is no output."),
        ("['ok', '\\ud800']", "$[1] holds a lone surrogate, which is not a character."),
        ("{ a: 'x\\0y' }", "$.a holds a NUL character."),
        ("{ 'x\\0y': 1 }", "$ has a key that holds a NUL character."),
        (
            "{ b: [undefined] }",
            "$.b[0] is undefined or a hole, which JSON would make null; use null.",
        ),
        ("[{ c: [1, , 3] }]", "$[0].c[1] is undefined or a hole, which JSON would make null"),
        ("Array(2)", "$[0] is undefined or a hole"),
        ("[{ toJSON() {} }]", "$[0] is undefined or a hole"),
        ("{ a: Object.assign([1], { more: 2 }) }", "$.a is an array with the property more, which"),
        ("Object.assign([1, , 3], { more: 2 })", "$[1] is undefined or a hole"),
        ("{ a: { [Symbol('s')]: 1 } }", "$.a has a symbol as a key, which JSON would leave out."),
        ("Object.assign([], { [Symbol('s')]: 1 })", "$ has a symbol as a key"),
    ],
)
def test_what_json_cannot_hold_is_named_with_its_place(value: str, message: str) -> None:
    with pytest.raises(OutputInvalid) as caught:
        run(f"setData({value})")

    assert str(caught.value).startswith(message)
    assert caught.value.place == message.split(" is ")[0].split(" h")[0]


def test_integer_that_python_does_not_read_is_no_output() -> None:
    assert run("setData(7n ** 4000n)") == 7**4000
    with pytest.raises(OutputInvalid, match=r"holds an integer of more than 4300 digits\.$"):
        run("setData(7n ** 40_000n)")


def test_cycle_is_named_with_its_place() -> None:
    with pytest.raises(OutputInvalid, match=r"^\$\.a\[0\] contains itself\.$"):
        run("const o = { a: [] }; o.a.push(o); setData(o)")


@pytest.mark.parametrize("depth", [1001, 1500, 200_000])
def test_result_nested_very_deep_is_refused(depth: int) -> None:
    with pytest.raises(OutputInvalid, match="is nested more than 1000 deep") as caught:
        run(f"let deep = []; for (let i = 0; i < {depth}; i++) deep = [deep]; setData(deep)")

    assert len(str(caught.value.place)) < 300


def test_result_nested_less_deep_goes_through() -> None:
    output = run("let deep = []; for (let i = 0; i < 999; i++) deep = [deep]; setData(deep)")

    depth = 0
    while output is not None:
        output, depth = next(iter(output), None), depth + 1
    assert depth == 1000


@pytest.mark.parametrize(
    "number", [2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63, 10**30, -(10**400)]
)
def test_integers_keep_all_their_digits(number: int) -> None:
    assert run("setData(context.Data.payload)", {"n": number}) == {"n": number}


def test_integers_that_a_number_cannot_hold_come_as_bigint() -> None:
    code = "setData(context.Data.payload.map(n => typeof n))"
    payload = [9007199254740991, 9007199254740992, 12345678901234567.5, "12345678901234567890"]

    assert run(code, payload) == ["number", "bigint", "number", "string"]


def test_keys_and_texts_full_of_digits_stay_as_they_are() -> None:
    payload = {"12345678901234567890": 'a "quoted\\" 12345678901234567890'}

    assert run("setData(context.Data.payload)", payload) == payload


ALIKE = (
    '{"a":1.10,"b":1.1,"rows":[{"amount":1.10},{"amount":1.1},{"amount":1.100}],'
    '"list":[1.10,1.1],"mixed":[1.10,{"x":1}],"2":1.50,"1":1.0}'
)
ROWS = '[{"amount":1.10},{"amount":1.1},{"amount":1.100}]'
SORTED = '{"1":1.0,"2":1.50,' + ALIKE[1 : ALIKE.index(',"2"')] + "}"


def as_written(code: str, payload: str = ALIKE) -> str:
    """Return the output of a script digit for digit."""
    context = Context("c", "f", "s", "q", 1, "d", CallLog(), Replies(), 1, lambda call, done: None)
    script = JavaScriptScript("pricing", f"const p = context.Data.payload;\n{code}", (), 64)
    output = script.run(f'{{"payload":{payload}}}'.encode(), context)
    return encode(output, context._numerals).decode()


@pytest.mark.parametrize(
    ("copied", "written"),
    [
        ("p", ALIKE),
        ("{ ...p }", SORTED),
        ("Object.assign({}, p)", SORTED),
        ("structuredClone(p)", ALIKE),
        ("structuredClone([p.list, 1.1])", "[[1.10,1.1],1.1]"),
        ("Object.fromEntries(Object.entries(p))", SORTED),
        ("p.rows.map((row) => ({ ...row }))", ROWS),
        ("p.rows.map(({ ...row }) => row).filter((row) => row.amount)", ROWS),
        (
            "p.rows.map((row) => Object.assign({ x: 1 }, row)).slice(0, 1)",
            '[{"x":1,"amount":1.10}]',
        ),
        ("p.rows.toReversed()[0]", '{"amount":1.100}'),
        ("{ ...p.rows[0], amount: 2.5 }", '{"amount":2.5}'),
        ("p.list.map((each) => each)", "[1.10,1.1]"),
        ("[...p.mixed]", '[1.10,{"x":1}]'),
        ("[p.b, {}, 2]", "[1.1,{},2]"),
        ("[...p.list]", "[1.10,1.1]"),
        ("{ a: p.a, b: p.b }", '{"a":1.10,"b":1.1}'),
        # Where it cannot be known it is as JavaScript writes it.
        (
            "p.rows.map(({ amount }) => ({ amount }))",
            '[{"amount":1.1},{"amount":1.1},{"amount":1.1}]',
        ),
        ("[...p.list, 2]", "[1.1,1.1,2]"),
        ("{ c: p.a }", '{"c":1.1}'),
    ],
)
def test_numbers_of_one_value_keep_their_own_digits_in_copies(copied: str, written: str) -> None:
    assert as_written(f"setData({copied})") == written


def test_an_array_that_has_changed_since_is_looked_at_again() -> None:
    code = "const a = [...p.list]; setData(a); a[0] = 7.5; a.push(1.1); setData(a);"

    assert as_written(code) == "[7.5,1.1,1.1]"


def test_what_keeps_the_digits_is_not_seen_by_the_script() -> None:
    code = """
const row = p.rows[0];
setData([Reflect.ownKeys(row), Object.getOwnPropertySymbols({ ...row }), Object.keys(row),
  JSON.stringify(row), Reflect.ownKeys.name, Object.getOwnPropertySymbols.length]);
"""

    assert as_written(code) == '[["amount"],[],["amount"],"{\\"amount\\":1.1}","ownKeys",1]'


def test_a_symbol_of_the_script_is_refused_beside_the_digits() -> None:
    with pytest.raises(OutputInvalid, match="has a symbol as a key"):
        run("setData({ ...context.Data, [Symbol()]: 1 })", body=b'{"payload":1.50}')

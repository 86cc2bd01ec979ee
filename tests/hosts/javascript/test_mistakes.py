"""Mistakes; Scripts that cannot run; What is done as people of a place do it."""

from typing import Any

import pytest

from scripts.host.languages.javascript import JavaScriptScript
from scripts.protocol.errors import (
    ScriptInvalid,
    ScriptWait,
)
from tests.hosts.javascript.helpers import raised, refused, run


def test_error_comes_with_the_lines_of_script_and_library() -> None:
    library = "var L = L || (function () {\n  this.of = function (o) {\n    return o.x.y; }; });"
    code = """
function helper(o) {
  return new L().of(o);
}

helper({}); setData(1)"""

    error = raised(code, libraries=[("L", library)])

    assert str(error) == "TypeError: cannot read property 'y' of undefined: o.x is undefined"
    assert error.traceback.splitlines() == [
        "TypeError: cannot read property 'y' of undefined: o.x is undefined",
        "    at library L:3:12",
        "        return o.x.y; }; });",
        "               ^",
        "    at helper (pricing:3:21)",
        "        return new L().of(o);",
        "                          ^",
        "    at pricing:6:1",
        "        helper({}); setData(1)",
        "        ^",
    ]


def test_line_is_right_behind_an_await() -> None:
    error = refused("await null;\n\nawait (async () => {\n  undefinedName\n})(); setData(1)")

    assert str(error) == "ReferenceError: undefinedName is not defined"
    assert "at pricing:4:3" in error.traceback


def test_error_of_a_library_that_is_loaded_names_it() -> None:
    error = refused("setData(1)", libraries=[("Rates", "\nnope()")])

    assert "at library Rates:2:1" in error.traceback


def test_cause_of_an_error_is_told() -> None:
    error = raised("throw new Error('outer', { cause: new TypeError('inner') }); setData")

    assert "Caused by TypeError: inner" in error.traceback


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("throw 'text'", "Thrown: text"),
        ("throw { a: 1 }", 'Thrown: {"a":1}'),
        ("throw null", "Thrown: null"),
        ("throw undefined", "Thrown: undefined"),
        ("throw Symbol('s')", "Thrown: Symbol(s)"),
        ("throw new (class Mine extends Error { name = 'Mine' })('x')", "Mine: x"),
        ("(function f() { f() })()", "RangeError: Maximum call stack size exceeded"),
        ("throw new (class extends Error { get message() { throw 1 } })", "Thrown: a value"),
        ("throw new Proxy({}, { get() { throw 1 } })", "Thrown: "),
        ("Promise.reject(new Error('lost')); setData(1)", "Error: lost"),
        ("queueMicrotask(() => { throw new Error('later') }); setData(1)", "Error: later"),
        ("await new Promise(() => {})", "The script waits for a promise that nothing will settle"),
        ("Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)", "TypeError: "),
    ],
)
def test_anything_thrown_is_reported_as_thrown(code: str, message: str) -> None:
    assert str(raised(f"{code}; setData(1)", memory_mb=4096)).startswith(message)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("log(1);\nthrow 'too small';", 2),
        ("log(1);\nif (1) {\n  throw { code: 1, message: 'no' };\n}\n// throw what you like", 3),
        ("if (context.step === 'x') throw 'other';\nthrow 'mine';", 2),
        ("const name = 'x';\nif (name === 'y') throw name;\nthrow name + '';", None),
    ],
)
def test_what_is_thrown_and_is_no_error_has_its_place_where_that_is_known(
    code: str, line: int | None
) -> None:
    error = raised(f"{code}\nsetData(1)")

    assert str(error).startswith("Thrown: ")
    places = [each for each in error.traceback.splitlines() if each.startswith("    at ")]
    assert len(places) == (line is not None)
    assert line is None or places[0].startswith(f"    at pricing:{line}:")


def test_the_errors_of_an_aggregate_error_are_told() -> None:
    error = raised(
        "const no = async (text) => {\n  throw new Error(text);\n};\n"
        "await Promise.any([no('first'), no('second'), Promise.reject(3)]); setData(1)"
    )

    told = "(Error: first; Error: second; Thrown: 3)"
    assert str(error) == f"AggregateError: all of them failed {told}"
    assert "One of its errors: Error: second\n    at no (pricing:2:" in error.traceback


@pytest.mark.parametrize("code", ["10n ** 20n + 1", "Math.max(2n)", "JSON.stringify({ a: 2n })"])
def test_a_mistake_with_a_big_integer_says_what_to_write(code: str) -> None:
    assert "write 1n for 1, or Number(n)" in str(raised(f"setData({code})"))


def test_an_await_in_a_plain_function_has_a_hint() -> None:
    code = "[1].forEach(r => { r.x = await context.state.get('a'); }); setData(1)"

    with pytest.raises(ScriptInvalid, match="await stands in async functions only"):
        JavaScriptScript("pricing", code)


def test_a_name_that_is_declared_twice_is_named() -> None:
    with pytest.raises(ScriptInvalid, match=r"line 3: .*; total is declared twice"):
        JavaScriptScript("pricing", "let total = 1;\n\nlet total = 2; setData(total)")


def test_null_that_a_script_throws_is_not_told_as_memory() -> None:
    thrown = {
        "throw null": "Thrown: null",
        "throw undefined": "Thrown: undefined",
        "await Promise.reject(null)": "Thrown: null",
        "Promise.reject()": "Thrown: undefined",
        "throw { amount: NaN }": 'Thrown: {"amount":"NaN"}',
    }
    # The process has taken more than these scripts may, but for others.
    large = bytearray(300 * 2**20)

    for memory_mb in (8, 64, 256):
        told = {code: str(raised(f"{code}; setData(1)", memory_mb=memory_mb)) for code in thrown}
        assert told == thrown, memory_mb
    assert len(large) == 300 * 2**20


@pytest.mark.parametrize(
    "expression",
    [
        "new Date(0).toLocaleString('de-DE', { timeZone: 'Europe/Berlin', hour: 'numeric' })",
        "new Date(0).toLocaleDateString()",
        "new Date(0).toLocaleTimeString('en-US')",
        "(1234.5).toLocaleString('de-DE')",
        "(1234.5).toLocaleString()",
        "(1234n).toLocaleString()",
        "[1234.5].toLocaleString()",
        "Number.prototype.toLocaleString.call(5)",
        "'ä'.localeCompare('z')",
        "'a'.localeCompare('b', 'cs')",
        "'a'.localeCompare('A', undefined, { sensitivity: 'base' })",
        "'i'.toLocaleUpperCase('tr')",
        "'I'.toLocaleLowerCase(['az-Latn'])",
    ],
)
def test_what_needs_the_habits_of_a_place_says_that_they_are_not_there(expression: str) -> None:
    message = str(raised(f"setData({expression})"))

    assert message.startswith("TypeError: ")
    assert "as there is no Intl" in message


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        (
            "['b 1', 'B', 'a', '10', 'Z', 'a b'].sort((x, y) => x.localeCompare(y))",
            ["10", "a", "a b", "B", "b 1", "Z"],
        ),
        (
            "['a'.localeCompare('A'), 'A'.localeCompare('a', 'en'), 'ä'.localeCompare('ä')]",
            [-1, 1, 0],
        ),
        ("'ß'.toLocaleUpperCase() + 'É'.toLocaleLowerCase('fr-FR')", "SSé"),
        ("['a', 'b'].toLocaleString()", "a,b"),
    ],
)
def test_what_is_alike_everywhere_is_done(expression: str, value: Any) -> None:
    assert run(f"setData({expression})") == value


def test_rejected_promise_that_is_asked_later_is_no_mistake() -> None:
    code = """
const failing = Promise.reject(new Error('known'));
await null; await null;
setData(await failing.catch(e => e.message))"""

    assert run(code) == "known"


@pytest.mark.parametrize(
    "code",
    [
        "Array(1e7).join('xxxx')",
        "'x'.repeat(2 ** 28)",
        "new ArrayBuffer(1e9)",
        "globalThis.kept = []; for (;;) kept.push({})",
    ],
)
def test_memory_limit_is_told_from_other_errors(code: str) -> None:
    with pytest.raises(MemoryError):
        run(f"{code}; setData(1)", memory_mb=32)


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("let x = 1;\nlet y = = 2; setData", 2),
        ("setData(1);\n}", 2),
        ("if (true) {\n  setData(1);\n", 2),
        ("let a;\n\nlet a; setData", 3),
        ("/* setData", 1),
        ("import x from 'y'; setData", 1),
    ],
)
def test_script_that_does_not_compile_names_its_line(code: str, line: int) -> None:
    with pytest.raises(ScriptInvalid, match=rf"^line {line}: ") as caught:
        JavaScriptScript("pricing", code)

    assert caught.value.line == line


def test_library_that_does_not_compile_is_named() -> None:
    with pytest.raises(ScriptInvalid, match=r"^library Rates, line 2: "):
        JavaScriptScript("pricing", "setData(1)", [("Rates", "var x;\nvar = 2;")])


def test_library_may_be_what_calls_set_data() -> None:
    library = "var Flow = Flow || { pass: function (x) { setData(x); } };"

    assert run("Flow.pass(3)", libraries=[("Flow", library)]) == 3


def test_deeply_nested_code_is_refused_without_harm() -> None:
    with pytest.raises(ScriptInvalid):
        JavaScriptScript("pricing", "setData(" + "(" * 200_000 + ")" * 200_000 + ")")


@pytest.mark.parametrize(
    ("call", "takes"),
    [
        ("setData(1, 2)", "setData(output)"),
        ("retry(1, 'r', 5)", "retry(after, reason)"),
        ("wait(1, 'r', {}, 5)", "wait(after, reason, state)"),
        ("reject('r', {}, 5)", "reject(reason, options)"),
        ("context.go('next', 1, 2)", "context.go(step, output)"),
        ("context.finish(1, 2)", "context.finish(output)"),
        ("context.progress(1, 2, 't', 3)", "context.progress(done, total, text)"),
        ("context.table('t', 'k')", "context.table(name)"),
        ("context.cached('k', 5, () => 1, 2)", "context.cached(key, seconds, make)"),
        ("context.start('flow', {}, {}, 1)", "context.start(flow, payload, options)"),
        ("context.state.get('k', 1, 2)", "state.get(key, otherwise)"),
        ("context.state.set('k', 1, {}, 2)", "state.set(key, value, options)"),
        ("context.state.increment('k', 1, {}, 2)", "state.increment(key, by, options)"),
        ("structuredClone([1], {transfer: []})", "structuredClone(value)"),
        ("context.state.delete('k', 1)", "state.delete(key)"),
        ("http.get('https://a.b/', null, { headers: {} })", "http.get(url, options)"),
        ("http.post('https://a.b/', 1, {}, 2)", "http.post(url, body, options)"),
        ("http.all([], { timeout: 5 })", "http.all(requests)"),
        ("http.request('GET', 'u', 1, {}, 2)", "http.request(method, url, body, options)"),
    ],
)
def test_an_argument_that_would_be_left_out_is_an_error(call: str, takes: str) -> None:
    error = refused(f"await {call}; setData(1)")

    most = takes.count(",") + 1
    told = f"TypeError: {takes} takes {most} argument{'s' if most > 1 else ''}, not "
    assert str(error).startswith(told)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("context.start('flow', {}, { keys: 'k' })", "takes key, priority, startAt, labels, dead"),
        ("context.start('flow', {}, 'k')", "options must be an object"),
        ("context.state.set('k', 1, { expire: 5 })", "takes expires, not expire"),
        ("context.state.set('k', 1, 60)", "options must be an object"),
        ("http.get('https://a.b/', { header: {} })", "not header"),
        ("http.get('https://a.b/', 'x=1')", "options must be an object"),
        (
            "http.post('https://a.b/', null, { files: { a: { content: '', filename: 'a.pdf' } } })",
            "files.a takes name, content, type, not filename",
        ),
        ("retry({ seconds: 5 })", "takes after and reason, not seconds"),
        ("wait({ after: 5, states: 1 })", "takes after, reason, state, not states"),
        ("reject('r', { codes: 5 })", "takes code and details, not codes"),
        ("reject('r', 'code')", "options must be an object"),
    ],
)
def test_an_option_that_would_be_left_out_is_an_error(call: str, said: str) -> None:
    assert said in str(refused(f"await {call}; setData(1)"))


@pytest.mark.parametrize("call", ["wait(1, 'r', { a: 1 })", "wait({ after: 1, state: { a: 1 } })"])
def test_a_wait_takes_its_state_as_python_does(call: str) -> None:
    with pytest.raises(ScriptWait) as caught:
        run(call)

    assert caught.value.state == '{"a":1}'

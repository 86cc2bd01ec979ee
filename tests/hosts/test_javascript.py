"""What a JavaScript script finds, how its mistakes are named, and that it leaves nothing behind."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from scripts.host.context import Context
from scripts.host.languages import quickjs
from scripts.host.languages.javascript import JavaScriptScript
from scripts.host.languages.prelude import Prelude
from scripts.protocol.envelope import encode
from scripts.protocol.errors import (
    OutputInvalid,
    ScriptError,
    ScriptInvalid,
    ScriptRaised,
    ScriptRejected,
    ScriptRetry,
)

CORRELATION_ID = "0190a1b2-0000-7000-8000-000000000001"
Libraries = Sequence[tuple[str, str]]


class Replies:
    """Answers requests in the order in which they are given, and remembers what was asked."""

    secret_names: tuple[str, ...] = ()

    def __init__(self, *replies: tuple[int, dict[str, Any]]) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._replies: Iterator[tuple[int, dict[str, Any]]] = iter(replies)

    def ask(self, call: int, service: str, request: dict[str, Any]) -> int:
        self.asked.append((service, request))
        return len(self.asked)

    def wait(self, call: int, number: int | None = None) -> tuple[int, dict[str, Any]]:
        return next(self._replies)


def run(
    code: str,
    payload: Any = None,
    *,
    body: bytes | None = None,
    libraries: Libraries = (),
    replies: Replies | None = None,
    logs: list[dict[str, Any]] | None = None,
    memory_mb: int = 64,
) -> Any:
    """Run a script on one message; its output, or raise what the host would report."""
    script = JavaScriptScript("pricing", code, libraries, memory_mb)
    return run_once(script, payload, body=body, replies=replies, logs=logs)


def run_once(
    script: JavaScriptScript,
    payload: Any = None,
    *,
    body: bytes | None = None,
    replies: Replies | None = None,
    logs: list[dict[str, Any]] | None = None,
) -> Any:
    envelope = {"correlationId": CORRELATION_ID, "payload": payload}
    context = Context(
        CORRELATION_ID,
        "orders",
        "price",
        "to-price",
        2,
        "d-7",
        [] if logs is None else logs,
        replies or Replies(),
        1,
    )
    try:
        return script.run(body or json.dumps(envelope).encode(), context)
    except (ScriptError, MemoryError):
        raise
    except Exception as error:
        raise script.explain(error) from None
    finally:
        script.forget()


def raised(code: str, **options: Any) -> ScriptRaised:
    with pytest.raises(ScriptRaised) as caught:
        run(code, **options)
    return caught.value


# What the original product's scripts are like

ORIGINAL_LIBRARY = """var RateLibrary = RateLibrary || (function () {
    var rates = { EUR: 1, RON: 4.97 };

    this.convert = function (amount, currency) {
        return amount * rates[currency];
    }

    return {
        convert: this.convert
    }
});
"""
ORIGINAL_SCRIPT = """
// what the caller sent
var amount = context.Data.payload.amount;

// a method of the attached library
var converted = new RateLibrary().convert(amount, 'RON');
log('converted ' + amount);
ftos.logging.log('result is ' + converted, {level: 'warning'});

var result = {correlationId: context.Data.correlationId, payload: {total: converted, step: 1}};

setData(result);
"""


def test_script_and_library_of_the_original_run_unchanged() -> None:
    logs: list[dict[str, Any]] = []

    output = run(
        ORIGINAL_SCRIPT, {"amount": 100}, libraries=[("RateLibrary", ORIGINAL_LIBRARY)], logs=logs
    )

    assert output == {
        "correlationId": CORRELATION_ID,
        "payload": {"total": 497, "step": 1},
    }
    assert [(line["level"], line["text"]) for line in logs] == [
        ("info", "converted 100"),
        ("warning", "result is 497"),
    ]


def test_libraries_may_be_singletons_and_use_those_before_them() -> None:
    libraries = [
        ("A", "var A = A || (function () { return { one: function () { return 1; } }; })();"),
        ("B", "var B = B || (function () { this.two = function () { return A.one() + 1; }; });"),
    ]

    assert run("setData([A.one(), new B().two()])", libraries=libraries) == [1, 2]


def test_script_may_return_early_and_leave_its_variables_undeclared() -> None:
    assert run("count = 1; setData(count); return; setData(2)") == 1


# What a script finds


def test_context_tells_about_the_call_by_both_kinds_of_names() -> None:
    code = """
setData([context.correlationId, context.correlation_id, context.flow, context.step,
  context.queue, context.attempt, context.deliveryId, context.delivery_id])"""

    assert run(code) == [
        *[CORRELATION_ID, CORRELATION_ID],
        *["orders", "price", "to-price", 2, "d-7", "d-7"],
    ]


def test_every_way_to_log_keeps_a_line() -> None:
    logs: list[dict[str, Any]] = []
    code = """
log("plain"); log("with level", "error"); log({ a: [1, 2n] }); context.log(undefined);
ftos.logging.log("bad", { level: "fatal" }); ftos.logging.log("odd", { level: "nonsense" });
console.log("a", 1, null, { b: 2 }); console.warn("w"); console.error(new Error("boo"));
console.debug("d\\ud800\\0"); log(Symbol("s"));
setData(1)"""

    run(code, logs=logs)

    lines = [(line["level"], line["text"].split("\n")[0]) for line in logs]
    assert lines == [
        ("info", "plain"),
        ("error", "with level"),
        ("info", '{"a":[1,2]}'),
        ("info", "undefined"),
        ("critical", "bad"),
        ("info", "odd"),
        ("info", 'a 1 null {"b":2}'),
        ("warning", "w"),
        ("error", "Error: boo"),
        ("debug", "d?\N{REPLACEMENT CHARACTER}"),
        ("info", "Symbol(s)"),
    ]
    assert logs[8]["text"].split("\n")[1:] == ["    at <anonymous> (pricing:4:75)"]


def test_long_logs_are_cut() -> None:
    logs: list[dict[str, Any]] = []

    run("for (let i = 0; i < 5000; i++) log('x'.repeat(10000)); setData(1)", logs=logs)

    assert len(logs) == 101
    assert len(logs[0]["text"]) == 8 * 1024 + 1
    assert logs[-1]["text"] == "The log was cut after 100 lines."


def test_logs_come_with_errors_too() -> None:
    logs: list[dict[str, Any]] = []

    raised("log('before'); null.x; setData(1)", logs=logs)

    assert [line["text"] for line in logs] == ["before"]


def test_random_numbers_differ_between_messages() -> None:
    script = JavaScriptScript("p", "setData([Math.random(), Math.random()])")

    numbers = [number for _ in range(50) for number in run_once(script)]

    assert len(set(numbers)) == 100
    assert all(0 <= number < 1 for number in numbers)
    assert 0.3 < sum(numbers) / 100 < 0.7


def test_await_works_at_top_level_and_in_functions() -> None:
    code = """
const half = async (n) => { await null; return n / 2; };
const all = await Promise.all([half(2), half(4)]);
for await (const n of [half(6)]) all.push(n);
setData(all)"""

    assert run(code) == [1, 2, 3]


def test_promises_that_are_not_awaited_are_waited_for() -> None:
    assert run("Promise.resolve(5).then(n => setData(n))") == 5


# The output


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
        ("{ a: undefined, b: [undefined, , 1] }", {"b": [None, None, 1]}),
        ("new Date(0)", "1970-01-01T00:00:00.000Z"),
        ("{ toJSON() { return { a: 1 } } }", {"a": 1}),
        ("new (class Order { constructor() { this.id = 1 } get x() { return 2 } })", {"id": 1}),
        ("Object.assign(Object.create(null), { a: 1 })", {"a": 1}),
        ("JSON.parse('{\"__proto__\": 1}')", {"__proto__": 1}),
        ("[new Number(1), new String('s'), new Boolean(false)]", [1, "s", False]),
        ("[1e21, -0, 1.5, 0.1 + 0.2, 5e-324]", [1e21, 0, 1.5, 0.1 + 0.2, 5e-324]),
        ("2n ** 70n", 2**70),
        ("'\\\\u0000 \\\\ud800 \U0001f600 null'", "\\u0000 \\ud800 \U0001f600 null"),
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
    ],
)
def test_what_json_cannot_hold_is_named_with_its_place(value: str, message: str) -> None:
    with pytest.raises(OutputInvalid) as caught:
        run(f"setData({value})")

    assert str(caught.value).startswith(message)
    assert caught.value.place == message.split(" is ")[0].split(" h")[0]


def test_integer_that_python_does_not_read_is_no_output() -> None:
    assert run("setData(7n ** 4000n)") == 7**4000
    with pytest.raises(OutputInvalid, match=r"holds an integer with too many digits\.$"):
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


# The ends that a script may ask for


@pytest.mark.parametrize(
    ("call", "after", "reason"),
    [
        ("retry()", None, ""),
        ("retry(2.5, 'busy')", 2.5, "busy"),
        ("retry('busy')", None, "busy"),
        ("retry({ after: 3, reason: 'busy' })", 3, "busy"),
        ("retry({ reason: 'busy' })", None, "busy"),
        ("retry('60', 'busy')", 60, "busy"),
        ("retry('60')", 60, ""),
        ("retry(60n, 'busy')", 60, "busy"),
        ("retry({ after: '2.5', reason: 'busy' })", 2.5, "busy"),
        ("retry(null, { code: 5 })", None, '{"code":5}'),
    ],
)
def test_retry_asks_for_redelivery(call: str, after: float | None, reason: str) -> None:
    with pytest.raises(ScriptRetry) as caught:
        run(f"setData(1); {call}; null.x")

    assert (caught.value.after, caught.value.reason) == (after, reason)


@pytest.mark.parametrize(
    "arguments",
    ["-1", "NaN", "'soon', 'busy'", "Infinity", "true", "[60]", "() => 5"],
)
def test_retry_at_an_impossible_time_is_the_scripts_mistake(arguments: str) -> None:
    message = str(raised(f"retry({arguments}); setData(1)"))

    assert message.startswith(("RangeError: retry(after)", "TypeError: retry("))


def test_option_of_retry_that_is_unknown_is_named() -> None:
    message = str(raised("retry({ seconds: 60, reason: 'busy' })"))

    assert message == "TypeError: retry() takes after and reason, not seconds"


@pytest.mark.parametrize(
    ("code", "kind"),
    [("reject('no customer');", ScriptRejected), ("retry(5, 'busy');", ScriptRetry)],
)
def test_script_that_only_ends_needs_no_output(code: str, kind: type[ScriptError]) -> None:
    with pytest.raises(kind):
        run(code)


def test_output_may_be_given_by_a_name_made_at_run_time() -> None:
    assert run("globalThis['set' + 'Data'](4)") == 4


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("{ reason: 'x' }", "x"),
        ("{ code: 5, total: NaN }", '{"code":5,"total":"NaN"}'),
        ("new Error('x')", "Error: x"),
        ("[1, 2n]", "[1,2]"),
        ("5", "5"),
        ("null", ""),
    ],
)
def test_reason_may_be_anything_and_is_told_whole(given: str, reason: str) -> None:
    with pytest.raises(ScriptRejected) as caught:
        run(f"reject({given})")

    assert caught.value.reason == reason


def test_reject_names_its_reason() -> None:
    with pytest.raises(ScriptRejected) as caught:
        run("reject('no such order'); setData(1)")

    assert caught.value.reason == "no such order"


@pytest.mark.parametrize(
    "code",
    [
        "try { reject('first') } catch (e) { retry(1); } setData(1)",
        "try { reject('first') } catch (e) { throw new Error('other') } setData(1)",
        "try { reject('first') } catch {} await new Promise(() => {}); setData(1)",
        "Promise.resolve().then(() => reject('first')); setData(1)",
    ],
)
def test_the_first_end_asked_for_counts_even_if_it_is_caught(code: str) -> None:
    with pytest.raises(ScriptRejected, match="first"):
        run(code)


# Mistakes


def test_error_comes_with_the_lines_of_script_and_library() -> None:
    library = "var L = L || (function () {\n  this.of = function (o) {\n    return o.x.y; }; });"
    code = """
function helper(o) {
  return new L().of(o);
}

helper({}); setData(1)"""

    error = raised(code, libraries=[("L", library)])

    assert str(error) == "TypeError: cannot read property 'y' of undefined"
    assert error.traceback.splitlines() == [
        "TypeError: cannot read property 'y' of undefined",
        "    at library L:3:12",
        "        return o.x.y; }; });",
        "    at helper (pricing:3:21)",
        "        return new L().of(o);",
        "    at pricing:6:1",
        "        helper({}); setData(1)",
    ]


def test_line_is_right_behind_an_await() -> None:
    error = raised("await null;\n\nawait (async () => {\n  undefinedName\n})(); setData(1)")

    assert str(error) == "ReferenceError: undefinedName is not defined"
    assert "at pricing:4:3" in error.traceback


def test_error_of_a_library_that_is_loaded_names_it() -> None:
    error = raised("setData(1)", libraries=[("Rates", "\nnope()")])

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
        ("await import('fs')", "ReferenceError: could not load module 'fs'"),
        ("await new Promise(() => {})", "The script waits for a promise that nothing will settle"),
        ("Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)", "TypeError: "),
        ("require('fs')", "ReferenceError: require is not defined"),
    ],
)
def test_anything_thrown_is_reported_as_thrown(code: str, message: str) -> None:
    assert str(raised(f"{code}; setData(1)", memory_mb=4096)).startswith(message)


@pytest.mark.parametrize("memory_mb", [8, 64, 256])
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("throw null", "Thrown: null"),
        ("throw undefined", "Thrown: undefined"),
        ("await Promise.reject(null)", "Thrown: null"),
        ("Promise.reject()", "Thrown: undefined"),
        ("throw { amount: NaN }", 'Thrown: {"amount":"NaN"}'),
    ],
)
def test_null_that_a_script_throws_is_not_told_as_memory(
    code: str, message: str, memory_mb: int
) -> None:
    # The process has taken more than this script may, but for others.
    large = bytearray(300 * 2**20)

    assert str(raised(f"{code}; setData(1)", memory_mb=memory_mb)) == message
    assert len(large) == 300 * 2**20


# What is done as people of a place do it


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


# Scripts that cannot run


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


# What a realm has


@pytest.mark.parametrize(
    "expression",
    [
        "new Map([[1, 2]]).size",
        "new WeakSet().has({})",
        "Uint8Array.of(1, 2).length",
        "new DataView(new ArrayBuffer(2)).byteLength",
        "atob(btoa('x'))",
        "new Proxy({}, {}) instanceof Object",
        "new WeakRef({}) !== undefined",
        "performance.now() >= 0",
        "typeof globalThis['ht' + 'tp'].get",
        "typeof eval('l' + 'og')",
        "typeof new Function('return retr' + 'y')()",
        "typeof [].constructor.constructor('return Ma' + 'p')()",
        "(function () { return typeof this['reje' + 'ct'] })()",
        "typeof \\u0068ttp.get",
        "(() => { const world = this; return typeof world['Uint8' + 'Array'] })()",
    ],
)
def test_everything_there_is_can_be_reached_whichever_way(expression: str) -> None:
    assert run(f"setData({expression})") not in (None, "undefined")


def test_plain_code_does_without_what_it_does_not_name() -> None:
    prelude = Prelude("// this is prose\nsetData(this.x, context.Data)")

    assert prelude.parts == []
    assert prelude.omitted == set(quickjs.OPTIONAL)


# One message and the next


@pytest.mark.parametrize(
    "leave",
    [
        "globalThis.left = 1",
        "left = 1",
        "Array.prototype.left = 1",
        "Object.prototype.left = 1",
        "JSON.stringify = () => '\"left\"'",
        "Promise.prototype.then = () => 'left'",
        "Math.random = () => 'left'",
        "setData = () => 'left'",
        "context.left = 1",
        "Lib.left = 1",
        "Lib.counter.n++",
        "Symbol.for('left').description",
        "(async () => { for (let i = 0; i < 9; i++) await 0; globalThis.left = 1 })()",
    ],
)
def test_nothing_is_left_for_the_next_message(leave: str) -> None:
    look = """
const kept = setData;
const seen = [typeof left, [].left, ({}).left, context.left, Lib.left, Lib.counter.n,
  JSON.stringify(1), typeof Math.random(), typeof Promise.resolve().then()];
if (context.Data.payload) { LEAVE; }
kept(seen)""".replace("LEAVE", leave)
    library = ("Lib", "var Lib = Lib || { counter: { n: 0 } };")
    script = JavaScriptScript("pricing", look, [library])
    clean = run_once(script, False)

    run_once(script, True)

    assert run_once(script, False) == clean
    assert clean[:5] == ["undefined", None, None, None, None]


def test_changed_built_ins_do_not_keep_the_output_from_coming_out() -> None:
    code = """
JSON.stringify = JSON.parse = Array.isArray = Object.keys = undefined;
Array.prototype.push = String.prototype.slice = Promise.prototype.then = undefined;
delete globalThis.Promise; delete globalThis.Math;
log("still"); await null;
setData({ a: [context.Data.payload] })"""
    logs: list[dict[str, Any]] = []

    assert run(code, 7, logs=logs) == {"a": [7]}
    assert logs[0]["text"] == "still"


# Requests to the outside


def page(body: str, status: int = 200) -> dict[str, Any]:
    return {"status": status, "headers": {"x": "1"}, "body": body, "url": "http://a/"}


def test_get_gives_status_headers_body_and_data() -> None:
    replies = Replies((1, page('{"n": 12345678901234567890}')))
    code = """
const r = await http.get("http://a/", { headers: { "X-Key": 5 }, timeout: 3 });
setData([r.status, r.ok, r.headers.x, r.body, r.data, r.url])"""

    output = run(code, replies=replies)

    assert output == [
        *[200, True, "1", '{"n": 12345678901234567890}'],
        *[{"n": 12345678901234567890}, "http://a/"],
    ]
    assert replies.asked == [
        (
            "http",
            {
                "method": "GET",
                "url": "http://a/",
                "headers": {"X-Key": "5"},
                "body": None,
                "timeout": 3,
            },
        )
    ]


def test_post_sends_objects_as_json_and_texts_as_they_are() -> None:
    replies = Replies((1, page("no json", 404)), (2, page("")))
    code = """
const r = await http.post("http://a/", { id: 2n ** 64n });
await context.http.post("http://a/", "text");
setData([r.ok, r.data === undefined])"""

    assert run(code, replies=replies) == [False, True]
    requests = [request for _, request in replies.asked]
    assert requests[0]["body"] == '{"id":18446744073709551616}'
    assert requests[0]["headers"] == {"Content-Type": "application/json"}
    assert requests[1]["body"] == "text"
    assert requests[1]["headers"] == {"Content-Type": "text/plain; charset=utf-8"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'u', { amount: NaN }", "TypeError: body.amount is NaN, which JSON cannot hold."),
        ("'u', [1, [Infinity]]", "TypeError: body[1][0] is infinite, which JSON cannot hold."),
        ("'u', new Map()", "TypeError: body is a Map, which JSON cannot hold; use Object.from"),
        ("'u', () => 1", "TypeError: body is a function, which JSON cannot hold; call it."),
        ("'u', new Uint8Array(2)", "TypeError: body is a Uint8Array, which JSON cannot hold"),
        (
            "'u', {}, { header: {} }",
            "TypeError: a request takes headers, params, timeout and base64",
        ),
        ("'u', {}, { params: 'a=1' }", "TypeError: params must be an object"),
        ("'u', {}, { params: { a: {} } }", "TypeError: params.a must be a text, a number or a bo"),
        ("'u', {}, { params: { a: NaN } }", "TypeError: params.a must be a text, a number or a b"),
        ("'u', {}, { headers: new Map([['X', '1']]) }", "TypeError: headers must be an object"),
        ("'u', {}, { headers: { X: ['1', '2'] } }", "TypeError: headers.X must be a text"),
        ("'u', {}, { timeout: NaN }", "TypeError: timeout must be a number of seconds above 0"),
        ("'u', {}, 5", "TypeError: options must be an object"),
    ],
)
def test_request_that_would_be_sent_as_something_else_is_refused(
    arguments: str, message: str
) -> None:
    replies = Replies()

    error = raised(f"await http.post({arguments}); setData(1)", replies=replies)

    assert str(error).startswith(message)
    assert replies.asked == []


@pytest.mark.parametrize(
    ("url", "params", "sent"),
    [
        ("http://a/p#top", "{ q: 'x y' }", "http://a/p?q=x%20y#top"),
        ("http://a/p?b=1#top", "{ q: 1 }", "http://a/p?b=1&q=1#top"),
        ("http://a/#?x", "{ q: 1 }", "http://a/?q=1#?x"),
        (
            "http://a/",
            "{ a: [1, null, 'x'], b: undefined, c: null, d: true }",
            "http://a/?a=1&a=x&d=true",
        ),
        ("http://a/#top", "{}", "http://a/#top"),
    ],
)
def test_params_are_in_the_query_whatever_the_url(url: str, params: str, sent: str) -> None:
    replies = Replies((1, page("")))

    run(
        f"await http.request('get', {url!r}, null, {{ params: {params} }}); setData(1)",
        replies=replies,
    )

    [(_, request)] = replies.asked
    assert (request["url"], request["method"]) == (sent, "GET")


def test_numbers_go_to_and_come_from_a_server_as_they_are_written() -> None:
    replies = Replies((1, page('{"rate": 1.10, "id": 1234567890123456.78, "n": 1e5}')))
    code = "const r = await http.post('http://a/', context.Data.payload); setData(r.data)"
    body = b'{"correlationId":"c","payload":{"total":12.50,"z":-0}}'
    context = Context("c", "f", "s", "q", 1, "d", [], replies, 1)
    script = JavaScriptScript("p", code)

    output = encode(script.run(body, context), context._numerals)

    script.forget()
    assert output == b'{"rate":1.10,"id":1234567890123456.78,"n":1e5}'
    assert replies.asked[0][1]["body"] == '{"total":12.50,"z":-0}'


def test_several_requests_are_under_way_at_once() -> None:
    replies = Replies((3, page("3")), (1, page("1")), (2, page("2")))
    code = """
const all = await Promise.all(["a", "b", "c"].map(u => http.get(u)));
setData(all.map(r => r.data))"""

    assert run(code, replies=replies) == [1, 2, 3]
    assert [request["url"] for _, request in replies.asked] == ["a", "b", "c"]


def test_request_that_fails_rejects_its_promise() -> None:
    refusal = {"error": "The host is not allowed.", "kind": "not-allowed"}
    caught = "try { await http.get('x') } catch (e) { setData([e.message, e.kind]) }"

    assert run(caught, replies=Replies((1, refusal))) == ["The host is not allowed.", "not-allowed"]
    assert "not allowed" in str(
        raised("await http.get('x');\nsetData(1)", replies=Replies((1, refusal)))
    )


def test_request_that_is_not_awaited_is_finished_before_the_message_is() -> None:
    replies = Replies((1, {"error": "No route.", "kind": "unreachable"}))

    error = raised("http.post('http://audit/', 'x'); setData(1)", replies=replies)

    assert "No route." in str(error)


def test_no_request_is_made_after_the_end_was_asked_for() -> None:
    replies = Replies()
    code = "try { reject('no') } catch { await http.get('x') } setData(1)"

    with pytest.raises(ScriptRejected):
        run(code, replies=replies)

    assert replies.asked == []

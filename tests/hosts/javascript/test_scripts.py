"""What the original product's scripts are like; What a script finds."""

from typing import Any

from scripts.host.languages.javascript import JavaScriptScript
from tests.hosts.javascript.helpers import CORRELATION_ID, raised, run, run_once

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

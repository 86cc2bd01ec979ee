"""What the original product's scripts are like; What a script finds."""

from typing import Any

import pytest

from scripts.host.languages.javascript import JavaScriptScript
from scripts.host.languages.members import MEMBERS
from scripts.protocol.errors import ScriptRaised
from tests.hosts.javascript.helpers import CORRELATION_ID, Replies, raised, refused, run, run_once

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
ftos.logging.log("bad", { level: "fatal" }); ftos.logging.log("loud", { level: " WARN " });
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
        ("warning", "loud"),
        ("info", 'a 1 null {"b":2}'),
        ("warning", "w"),
        ("error", "Error: boo"),
        ("debug", "d?\N{REPLACEMENT CHARACTER}"),
        ("info", "Symbol(s)"),
    ]
    assert logs[8]["text"].split("\n")[1:] == ["    at <anonymous> (pricing:4:75)"]


def test_a_log_line_shows_what_json_does_not_hold() -> None:
    logs: list[dict[str, Any]] = []
    code = """
log(new Map([["k", 1], [{ a: 1 }, new Set([2, "x", undefined])]]), /x/g, new Date(NaN));
log({ m: new Map([["k", 1]]), f() {}, e: new Error("boo"), d: [new Date(NaN)] });
log(new Uint8Array([1, 2]), new Float64Array(1), new Uint8Array([7]).buffer, Promise.resolve());
const own = new Map(), round = {}; own.set("own", own); round.o = round; log(own); log(round);
setData(1)"""

    run(code, logs=logs)

    own = 'Map(1) {"own" => ' * 5 + "[object Map]" + "}" * 5
    assert [line["text"] for line in logs] == [
        'Map(2) {"k" => 1, {"a":1} => Set(3) {2, "x", undefined}} /x/g Invalid Date',
        '{"m":"Map(1) {\\"k\\" => 1}","f":"[function f]","e":"Error: boo","d":["Invalid Date"]}',
        "Uint8Array(2) [1, 2] Float64Array(1) [0] ArrayBuffer(1) [7] [object Promise]",
        own,
        "[object Object] (circular reference)",
    ]


def test_the_members_of_a_context_are_known() -> None:
    every = " ".join(MEMBERS)
    replies = Replies((1, {"values": {}}))
    found = run(f"// {every}\nsetData(Object.keys(context))", replies=replies)

    assert sorted(found) == sorted(MEMBERS)


@pytest.mark.parametrize(
    ("member", "hint"),
    [("correlationID", "correlationId"), ("data", "Data"), ("fnish", "finish")],
)
def test_a_misspelt_member_of_a_context_is_an_error(member: str, hint: str) -> None:
    error = refused(f"log(1);\nsetData({{ payload: {{ a: context.{member} }} }})")

    assert str(error) == f"TypeError: context has no {member}: do you mean {hint}?"
    assert error.line == 2


@pytest.mark.parametrize(
    "code",
    [
        "context.user = 7; setData(context.user)",
        "Object.assign(context, { user: 7 }); setData(context.user)",
        "setData(context.user ?? 7)",
        "setData(typeof context.user === 'undefined' ? 7 : context.user.id)",
        "setData('user' in context ? context.user : 7)",
        "const id = (context) => context.user; setData(id({ user: 7 }))",
    ],
)
def test_a_script_may_put_a_member_into_its_context_or_ask_for_it(code: str) -> None:
    assert run(code) == 7


@pytest.mark.parametrize("say", ["log", "context.log", "ftos.logging.log"])
def test_a_log_line_has_every_value_and_may_end_with_its_level(say: str) -> None:
    logs: list[dict[str, Any]] = []
    code = f"""
{say}("rate", 1.5); {say}("rate", {{ level: 5, of: "EUR" }}); {say}("both", 1, "Warning");
{say}("a", "b", {{ level: "ERROR" }}); {say}("warn"); {say}({{ level: "warn" }}); {say}();
{say}("of", "Erika"); {say}("none", {{ level: undefined }});
setData(1)"""

    run(code, logs=logs)

    assert [(line["level"], line["text"]) for line in logs] == [
        ("info", "rate 1.5"),
        ("info", 'rate {"level":5,"of":"EUR"}'),
        ("warning", "both 1"),
        ("error", "a b"),
        ("info", "warn"),
        ("info", '{"level":"warn"}'),
        ("info", ""),
        ("info", "of Erika"),
        ("info", "none"),
    ]


@pytest.mark.parametrize("level", ["'loud'", "''", "5", "null", "{}"])
def test_an_unknown_level_is_an_error_that_names_the_levels(level: str) -> None:
    error = refused(f"log('x', {{ level: {level} }}); setData(1)")

    assert "the levels are debug, info, warning, error, critical" in str(error)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("count", [99, 100, 101, 102, 1000])
def test_the_first_and_last_lines_are_kept_and_those_between_counted(count: int) -> None:
    logs: list[dict[str, Any]] = []

    run(f"for (let i = 0; i < {count}; i++) log(i + 'x'.repeat(10000)); setData(1)", logs=logs)

    numbers = [line["text"].partition("x")[0] for line in logs]
    told = [] if count <= 100 else [numbers.pop(50)]
    assert numbers == [str(i) for i in range(count) if i < 50 or i >= count - 50]
    assert [text.split()[0] for text in told] == [str(count - 100)] * len(told)
    assert len(logs[0]["text"]) == 8 * 1024 + 1


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


@pytest.mark.parametrize("length", [10, 100_000])
def test_message_of_any_length_comes_with_what_is_known_of_it(length: int) -> None:
    code = """
    const { correlationId, flow, step, queue, attempt, deliveryId } = context;
    setData([correlationId, flow, step, queue, attempt, deliveryId, context.Data.payload.length]);
    """

    known = run(code, "x" * length)

    assert known == [CORRELATION_ID, "orders", "price", "to-price", 2, "d-7", length]


@pytest.mark.parametrize("length", [0, 100_000])
@pytest.mark.parametrize("body", ["1,2", "1],[2", ",", '{"a":1}]', "1]"])
def test_text_that_is_no_json_is_no_message(body: str, length: int) -> None:
    with pytest.raises(ScriptRaised):
        run("setData(context.Data)", body=(body + " " * length).encode())


@pytest.mark.parametrize("before", ["", "await null; "])
@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("setData(1); Promise.resolve().then(() => setData(2))", 2),
        ("setData(1); return { then(done) { setData(2); done() } }", 2),
        ("setData(typeof this + typeof new.target + arguments.length)", "objectundefined0"),
        ("const f = async () => 3; return f().then(setData)", 3),
    ],
)
def test_script_that_awaits_nothing_runs_as_others_do(before: str, code: str, output: Any) -> None:
    assert run(before + code) == output


@pytest.mark.parametrize("before", ["", "await null; "])
@pytest.mark.parametrize(
    "code", ["throw new Error('late')", "return Promise.reject(new Error('late'))"]
)
def test_error_of_a_script_that_awaits_nothing_is_told_as_others_are(
    before: str, code: str
) -> None:
    error = raised(f"{before}\n{code}")

    assert str(error) == "Error: late"
    assert "\n    at pricing:2:" in error.traceback

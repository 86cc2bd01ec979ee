"""What is told of JavaScript that does not compile, and of errors at run time."""

from __future__ import annotations

import pytest

from scripts.host.languages.javascript import JavaScriptScript, syntax_fault
from scripts.host.languages.javascript_marks import Marks
from scripts.protocol.errors import OutputInvalid, ScriptInvalid
from scripts.protocol.wire import MAX_TEXT_LENGTH
from tests.hosts.javascript.helpers import Replies, raised, run
from tests.hosts.javascript.helpers import refused as refused_at_run


def refused(code: str, library: str = "") -> ScriptInvalid:
    with pytest.raises(ScriptInvalid) as caught:
        JavaScriptScript("pricing", code, [("rates", library)] if library else [])
    return caught.value


def test_code_that_does_not_compile_is_shown_with_a_caret() -> None:
    error = refused("const a = 1;\n  let x = ;\n")

    assert error.line == 2
    assert str(error).startswith("line 2: ")
    assert error.traceback.splitlines()[:3] == [
        '  File "pricing", line 2, column 11',
        "    let x = ;",
        "            ^",
    ]


def test_a_missing_end_is_shown_behind_the_last_line() -> None:
    error = refused("function f() {\n  return 1;")

    assert error.traceback.splitlines()[:3] == [
        '  File "pricing", line 2, column 12',
        "    return 1;",
        "             ^",
    ]


def test_a_library_that_does_not_compile_is_named() -> None:
    error = refused("setData(1)", "var a = 1;\nreturn a;")

    assert str(error).startswith("library rates, line 2: ")
    assert "a library is no function" in str(error)
    assert '  File "library rates", line 2, column ' in error.traceback
    assert error.line is None


@pytest.mark.parametrize(
    ("code", "told", "column"),
    [
        ("C.a.run('x', new Date(3))", "C.a.run is not a function", 1),
        ("C.a.run(Math.max(1, 2))", "C.a.run is not a function", 1),
        ("C.a.run(1, [JSON.stringify(2)])", "C.a.run is not a function", 1),
        ("new C.a.Run(C, parseInt('1'))", "C.a.Run is not a function", 5),
        ("C.a.run(f(2), 2)", "not a function: f or C.a.run", 1),
        ("C.a.run(C.a.run(1))", "C.a.run is not a function", 1),
        (
            "crypto.subtle.importKey('raw', new Uint8Array(3))",
            "crypto.subtle.importKey is not a function",
            1,
        ),
    ],
)
def test_a_call_is_named_whose_arguments_hold_calls(code: str, told: str, column: int) -> None:
    error = raised(f"const C = {{ a: {{}} }}, f = () => 1;\n{code};")

    assert str(error) == f"TypeError: {told}"
    assert error.traceback.splitlines()[1] == f"    at pricing:2:{column}"


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("import x from 'y';", "a script is no module"),
        ("export const x = 1;", "a script is no module"),
        ("const y: number = 4;", "TypeScript"),
        ("interface Order { id: string }", "TypeScript"),
        ("type A = string;", "TypeScript"),
        ("function f(a: string, b?: number) {}", "TypeScript"),
        ("const x = y as string;", "TypeScript"),
        ("class A { private x = 1 }", "TypeScript"),
    ],
)
def test_what_other_javascript_has_is_answered_with_a_hint(code: str, hint: str) -> None:
    assert hint in str(refused(code))


@pytest.mark.parametrize("code", ["let x = ;", "foo bar", "if (a { }", "const o = { a: 1, b: };"])
def test_other_faults_have_no_hint(code: str) -> None:
    assert "; " not in str(refused(code)).replace("';'", "")


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("require('fs')", "list a library"),
        ("await fetch('https://a.test')", "http.get(url)"),
        ("setTimeout(() => 1, 5)", "wait(seconds, reason)"),
        ("process.env.KEY", "context.secrets"),
        ("Buffer.from('x')", "Uint8Array"),
    ],
)
def test_what_a_script_does_not_have_is_answered_with_a_hint(code: str, hint: str) -> None:
    with pytest.raises(ScriptInvalid, match=" is not defined: ") as caught:
        run(code)

    assert hint in str(caught.value)


def test_a_module_that_is_loaded_late_is_not_there_either() -> None:
    with pytest.raises(ScriptInvalid, match="could not load module 'fs': list a library") as caught:
        run("log(1);\n  await import('fs')")

    assert caught.value.line == 2
    assert caught.value.traceback.splitlines()[1:] == [
        "    at pricing:2:9",
        "        await import('fs')",
        "              ^",
    ]


def test_an_error_that_is_caught_and_thrown_on_says_its_value_once() -> None:
    error = raised("try { 1 instanceof context.http.Error } catch (e) { throw e }")

    told = "context.http.Error is none; a failed request has error.kind"
    assert str(error).startswith(f"TypeError: invalid 'instanceof' right operand: {told}")
    assert str(error).count("is none") == 1


def test_a_line_of_a_stack_has_a_caret() -> None:
    error = raised("const p = {};\n  const a = 1, b = p.a.b;")

    assert error.traceback.splitlines()[1:] == [
        "    at pricing:2:20",
        "        const a = 1, b = p.a.b;",
        "                         ^",
    ]


def test_an_end_that_comes_too_early_is_named() -> None:
    assert "a bracket, a brace or a quote is not closed" in str(refused("if (true) {\n  log(1)"))


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("}", (1, 1)),
        ("log(1);\n  }\nsetData(1);", (2, 3)),
        ("if (1) {\n  log('}');\n}}\nsetData(1);", (3, 2)),
        ("const é = `${ { a: 1 }.a }`; } // {", (1, 30)),
        ("})();", (1, 1)),
    ],
)
def test_a_brace_too_many_is_named(code: str, place: tuple[int, int]) -> None:
    fault = syntax_fault(code)

    assert fault is not None
    assert str(fault) == "unexpected '}': it closes nothing"
    assert (fault.line, fault.column) == place


def test_a_regular_expression_that_does_not_compile_is_shown() -> None:
    error = refused("const a = /b/.test('c') / 2;\n  const é = 'ü', x = /a(/.test('b');")

    assert str(error) == "line 2: no regular expression: expecting ')'"
    assert error.traceback.splitlines()[:3] == [
        '  File "pricing", line 2, column 22',
        "    const é = 'ü', x = /a(/.test('b');",
        "                       ^",
    ]
    assert "expecting ')'" in str(syntax_fault("x = 1;\ny = /a(/;", is_library=True))


def test_a_brace_too_many_hides_no_fault_before_it() -> None:
    fault = syntax_fault("const a = ;\n}")

    assert fault is not None
    assert fault.line == 1
    assert "closes nothing" not in str(fault)


@pytest.mark.parametrize("code", ["typeof require", "typeof process === 'object' && process.env"])
def test_a_script_may_ask_for_what_it_does_not_have(code: str) -> None:
    assert run(f"setData({{ ...context.Data, payload: String({code}) }})") is not None


def test_a_script_that_returns_its_output_is_told_of_set_data() -> None:
    with pytest.raises(OutputInvalid) as caught:
        run("return context.Data;")

    assert str(caught.value).endswith("What it returns is not its output.")


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("const x = {};\n  x.foo(1);", "x.foo is not a function"),
        ("const x = { a: [{}] }; x.a[0].run();", "x.a[0].run is not a function"),
        ("const f = 5; f();", "f is not a function"),
        ("[1, 2].mapp(1);", "mapp is not a function"),
        ("[1, 2].mapp((x) => x);", "mapp is not a function"),
        ("const x = {}; x.each(x => x);", "x.each is not a function"),
        ("const x = {}; x.each(1, async () => 5);", "x.each is not a function"),
        ("const x = {}; x.each(function () { return 1; });", "x.each is not a function"),
        ("`a`.upper();", "upper is not a function"),
        ("const x = {}; new x.Y();", "x.Y is not a function"),
        ("const x = {}; x['a' + 1]();", "x['a' + 1] is not a function"),
        ("const x = { y() { return {} } }; x.y().z();", "x.y().z is not a function"),
        ("[1].map(3);", "what was given to map() is not a function"),
        ("(void 0)();", "not a function"),
        ("let a = {}; a.b.c;", "cannot read property 'c' of undefined: a.b is undefined"),
        ("let a = {}; a.b.c = 1;", "cannot set property 'c' of undefined: a.b is undefined"),
        ("let a = null; a['b'];", "cannot read property 'b' of null: a is null"),
        ("null.x;", "cannot read property 'x' of null"),
        ("const x = {}; new (x.Y)();", "x.Y is not a function"),
        ("const x = {}; x.y` `;", "x.y is not a function"),
        (
            "const x = {}; for (const y of x.rows) {}",
            "cannot read property 'Symbol.iterator' of undefined: x.rows is undefined",
        ),
        (
            "const x = {}; log([...x.rows]);",
            "cannot read property 'Symbol.iterator' of undefined: x.rows is undefined",
        ),
        (
            "const x = {};\n\n  const { a, ...b } = x.y;",
            "Cannot convert undefined or null to object: x.y is undefined or null",
        ),
        (
            "const x = {}; const [a] = x.y;",
            "cannot read property 'Symbol.iterator' of undefined: x.y is undefined",
        ),
        (
            "const { a } = undefined;",
            "Cannot convert undefined or null to object: it is taken apart in { a }",
        ),
        (
            "const { a: { b } } = {}; const { c } = log;",
            "Cannot convert undefined or null to object: it is taken apart in { a: { b } }",
        ),
        (
            "for (const { a } of [null]) {} const { c } = log;",
            "Cannot convert undefined or null to object: it is taken apart in for (const { a } of",
        ),
        (
            "function f({ a }) {} f(); const { c } = log;",
            "Cannot convert undefined or null to object: it is taken apart in ({ a })",
        ),
        (
            "const x = {}; for (const [k, v] of Object.entries(x.y)) {}",
            "Cannot convert undefined or null to object: x.y is undefined or null",
        ),
        ("const x = {}; new Map(x);", "x, which was given to Map(), is not iterable"),
        ("const x = {}; 'a' in x.y;", "invalid 'in' operand: x.y is none"),
        ("throw new TypeError('not a function');", "not a function"),
    ],
)
def test_an_error_names_the_value_that_it_is_about(code: str, named: str) -> None:
    error = raised(code)

    assert str(error) == f"TypeError: {named}"
    assert error.traceback.startswith(f"TypeError: {named}\n    at ")
    assert "<engine>" not in error.traceback


@pytest.mark.parametrize(
    ("code", "told", "place"),
    [
        (
            "const a = 1;\nlog(a);\nconst [x, y] = context.Data.payload;",
            "cannot read property 'Symbol.iterator' of null: context.Data.payload is null",
            (3, 7),
        ),
        ("const a = 1;\n\nlet [x] = context.Data;", "context.Data is not iterable", (3, 5)),
        ("log(1);\nfor (const [k] of [1]) log(k);", "value is not iterable", (2, 1)),
        ("function f(p) {\n  const [x] = p;\n}\nf(5);", "p is not iterable", (2, 9)),
        ("const x = 1;\nx = 2;\nsetData(x)", "'x' is read-only", (2, 1)),
        (
            "const x = 1;\nfunction f() {\n  if (x) {\n    x++;\n    log(1);\n  }\n}\nf()",
            "'x' is read-only",
            (4, 5),
        ),
        (
            "class A { constructor() {} }\nconst a = A(5);",
            "class constructors must be invoked with 'new': A is a class",
            (2, 11),
        ),
        (
            "class A {\n  rate() {\n    return this.p.rates;\n  }\n}\nnew A().rate()",
            "cannot read property 'rates' of undefined: this.p is undefined",
            (3, 12),
        ),
        (
            "class A {\n  rate() {\n    log(1);\n    const r =\n      this.p.rates.base;\n  }\n}\n"
            "new A().rate()",
            "cannot read property 'rates' of undefined: this.p is undefined",
            (5, 7),
        ),
        (
            "const o = {\n  get bad() {\n    return this.x.y;\n  },\n};\no.bad;",
            "cannot read property 'y' of undefined: this.x is undefined",
            (3, 12),
        ),
        (
            "log(1);\nlet { a: { b } = {}, c: [d] } = context;",
            "cannot read property 'Symbol.iterator' of undefined: it is taken apart in [d]",
            (2, 25),
        ),
        (
            "const f = async (xs) => {\n  for await (const x of xs) log(x);\n};\nawait f(5);",
            "xs is not async iterable",
            (2, 25),
        ),
        (
            "const m = new Map(); const q = m.get('x')\n  .z",
            "cannot read property 'z' of undefined: m.get('x') is undefined",
            (2, 4),
        ),
        (
            "const p = context.Data.payload\n(function () { log(1) })()",
            "context.Data.payload is not a function",
            (1, 11),
        ),
        (
            "for (let i = 0; i < 3; i++) {\n  const { y } = context.Data.nope;\n}",
            "Cannot convert undefined or null to object: context.Data.nope is undefined or null",
            (2, 9),
        ),
        (
            "const s = `a ${[1].map(() => this.u.v)} b`;",
            "cannot read property 'v' of undefined: this.u is undefined",
            (1, 30),
        ),
        (
            "switch (1) {\n  case 1:\n    if (/[\"'`{]/.test('x') || this.a.b.c) log(1);\n}",
            "cannot read property 'b' of undefined: this.a is undefined",
            (3, 31),
        ),
        # Which of two it was is not known.
        (
            "const f = () => [this.a.x, this.b.x];\nf();",
            "cannot read property 'x' of undefined",
            (1, 1),
        ),
        (
            "const p = {}; log('Größe für ' + p.kunde.name);",
            "cannot read property 'name' of undefined: p.kunde is undefined",
            (1, 34),
        ),
        (
            "const p = {}; log('😀😀', p.prämie.größe);",
            "cannot read property 'größe' of undefined: p.prämie is undefined",
            (1, 25),
        ),
        (
            "function f(q) { /* öö */ return q.a.b; }\nf({});",
            "cannot read property 'b' of undefined: q.a is undefined",
            (1, 33),
        ),
        (
            "const s = 'x\u2028y\u0085z\f';\nconst o = {};\no.x.y;",
            "cannot read property 'y' of undefined: o.x is undefined",
            (3, 1),
        ),
    ],
)
def test_an_error_has_the_place_and_the_value_of_its_own_statement(
    code: str, told: str, place: tuple[int, int]
) -> None:
    error = raised(code)

    assert str(error) == f"TypeError: {told}"
    line, column = place
    first, source = error.traceback.splitlines()[1:3]
    assert first.rstrip(")").endswith(f"pricing:{line}:{column}")
    assert source.strip() == code.split("\n")[line - 1].strip()


def test_the_place_of_a_fault_counts_characters() -> None:
    error = refused("const a = 'ä€😀' + ;")

    assert '  File "pricing", line 1, column 19' in error.traceback


@pytest.mark.parametrize("end", ["{", "(", "`${", "=> a", "for (const x of", "class", "?.", "/x"])
def test_any_text_has_places(end: str) -> None:
    code = "const { a: [b] = c.d } = (e, f) => ({ g: `h${i}` }); for (const j of k.l) { m?.n(o) }"

    for at in range(len(code)):
        Marks(f"{code[:at]}{end}{code[at:]}")


@pytest.mark.parametrize(
    ("thrown", "message"),
    [
        ("x.foo(1)", "x.foo is not a function"),
        ("new (x.Y)()", "x.Y is not a function"),
        ("x.a.b", "cannot read property 'b' of undefined: x.a is undefined"),
        ("x.a.b = 1", "cannot set property 'b' of undefined: x.a is undefined"),
        (
            "for (const y of x.rows) {}",
            "cannot read property 'Symbol.iterator' of undefined: x.rows is undefined",
        ),
        (
            "const { a } = x.y",
            "Cannot convert undefined or null to object: x.y is undefined or null",
        ),
        ("(void 0)()", "not a function (line 3)"),
        ("throw new TypeError('not a function')", "not a function (line 3)"),
        ("throw new Error('not a function')", "not a function"),
        ("throw new TypeError('mine')", "mine"),
    ],
)
@pytest.mark.parametrize(
    "caught",
    [
        "const x = {};\ntry {\n {0} } catch (error) { setData(error.message) }",
        "const x = {};\nawait (async () => {\n {0} })().catch((error) => setData(error.message))",
        "const x = {};\nconst [end] = await Promise.allSettled([(async () => {\n {0} })()]);"
        " setData(end.reason.message)",
    ],
)
def test_a_message_that_the_script_reads_itself_names_the_value(
    caught: str, thrown: str, message: str
) -> None:
    assert run(caught.replace("{0}", thrown)) == message


def test_the_stack_of_an_error_that_is_caught_is_as_that_of_others() -> None:
    code = """
function f() { return [1].map(() => { throw new Error("x"); }); }
{0}setData(null);
try { f() } catch ({1}) { setData(error.stack) }
"""
    stack = run(code.replace("{0}", "").replace("{1}", "error"))

    assert stack.splitlines()[:4] == [
        "    at <anonymous> (pricing:2:49)",
        "    at map (native)",
        "    at f (pricing:2:27)",
        "    at <anonymous> (pricing:4:7)",
    ]


@pytest.mark.parametrize("mistake", ["null.x", "context.progress(-1)", "context.config.missing"])
def test_a_script_that_catches_very_many_errors_keeps_its_memory(mistake: str) -> None:
    count = 20_000
    code = f"let n = 0;\nfor (let i = 0; i < {count}; i++) try {{ {mistake} }} catch {{ n++ }}\n"

    replies = Replies(*[(1, {"values": {}})] * 2)
    assert run(f"{code}setData(n)", replies=replies, memory_mb=8) == count


def test_a_long_message_of_the_script_itself_is_left_as_it_is() -> None:
    code = "try { throw new TypeError('value is not ' + context.Data.payload) }"

    assert run(f"{code} catch (error) {{ setData(error.message) }}", "x" * 500).endswith("x" * 500)


def test_an_error_that_comes_again_is_named_again() -> None:
    code = """
const x = {}, told = new Set();
for (let i = 0; i < 3000; i++) {
  try { if (i % 2) x.foo(); else x.bar(); } catch ({ message }) { told.add(message); }
}
setData([...told]);
"""
    assert run(code) == ["x.bar is not a function", "x.foo is not a function"]


def test_a_promise_that_is_never_settled_is_named_with_the_places_that_make_some() -> None:
    error = raised("log(1);\n  await new Promise(() => {});\nsetData(1);")

    assert str(error) == "The script waits for a promise that nothing will settle."
    assert error.traceback.splitlines()[1:] == [
        "    at pricing:2:9",
        "        await new Promise(() => {});",
        "              ^",
    ]


@pytest.mark.parametrize(
    "code",
    [
        "await http.post('https://a.b/', { a: NaN });",
        "await http.all([1].map(() => ({ url: 5, parms: 1 })));",
        "await context.cached('k', 5);",
        "context.progress(-1);",
    ],
)
def test_a_stack_has_no_frames_of_the_engine(code: str) -> None:
    error = refused_at_run(code)

    frames = [line for line in error.traceback.splitlines() if line.startswith("    at ")]
    assert len(frames) == 1
    assert frames[0].startswith("    at pricing:1:")


def test_a_stack_has_the_functions_of_the_language_that_a_script_calls() -> None:
    error = raised("[1].map(() => { throw new Error('x'); });")

    assert "    at map (native)\n" in error.traceback


@pytest.mark.parametrize(
    "thrown",
    [
        "new Error('x'.repeat(18388))",
        "new Error('x', { cause: new Error('y'.repeat(18388)) })",
        "Object.assign(new Error('x'), { stack: '    at pricing:2:9\\n' + 'z'.repeat(40000) })",
        "new AggregateError([], 'x'.repeat(18388))",
    ],
)
def test_a_long_message_leaves_room_for_the_place(thrown: str) -> None:
    error = raised(f"function f() {{\n  throw {thrown};\n}}\nf(); setData(1)")

    assert "Error: x" in str(error)
    assert len(error.traceback) < MAX_TEXT_LENGTH
    place = error.traceback.index("pricing:2:")
    assert f"        throw {thrown};" in error.traceback[place:]


def test_a_name_that_two_libraries_define_can_never_work() -> None:
    libraries = [("C", "const C = class {};"), ("G", "class C {}")]
    error = refused_at_run("setData(1)", libraries=libraries)

    assert "redeclaration of 'C'" in str(error)

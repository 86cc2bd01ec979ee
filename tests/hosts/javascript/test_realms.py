"""What a realm has; One message and the next."""

from typing import Any

import pytest

from scripts.host.languages import quickjs
from scripts.host.languages.javascript import JavaScriptScript
from scripts.host.languages.prelude import Prelude
from tests.hosts.javascript.helpers import run, run_once


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
const seen = [typeof left, [].left, ({}).left, context["left"], Lib.left, Lib.counter.n,
  JSON.stringify(1), typeof Math.random(), typeof Promise.resolve().then()];
if (context.Data.payload) { LEAVE; }
kept(seen.map((each) => each ?? null))""".replace("LEAVE", leave)
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

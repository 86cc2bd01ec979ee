"""A realm that is restored after each message: the next one finds it as if it were the first."""

import contextlib
import ctypes

import pytest

from scripts.host.languages import heap, quickjs
from scripts.host.languages.heap import Full, Heap
from scripts.host.languages.javascript import JavaScriptScript
from scripts.host.languages.quickjs import Realm
from scripts.host.languages.world import Worlds
from scripts.protocol.errors import ScriptError
from tests.hosts.javascript.helpers import Replies, run, run_once

# Names all that a realm can have, so that each part and built-in object is there.
EVERYTHING = """
/* globalThis Map Set Proxy ArrayBuffer DataView WeakRef FinalizationRegistry atob performance
   http retry wait reject cached finish go progress sign verify jwt start state table toLocaleString
   random zoned log crypto dayjs structuredClone TextEncoder URL */
"""
# Everything that can be reached, in its order, with what each property is.
LOOK = (
    EVERYTHING
    + """
function look() {
  const known = new Map([[globalThis, 0]]), seen = [];
  // Its own time, and the message.
  known.set(performance, -1).set(context.Data, -2);
  for (const [value, number] of known) {
    if (number < 0) continue;
    seen.push(number, Object.isExtensible(value));
    const told = (part) => {
      if (typeof part !== "object" && typeof part !== "function" || part === null) {
        return typeof part === "symbol" ? part.toString() : `${typeof part} ${part}`;
      }
      if (!known.has(part)) known.set(part, known.size);
      return known.get(part);
    };
    seen.push(told(Object.getPrototypeOf(value)));
    for (const key of Reflect.ownKeys(value)) {
      const { value: held, get, set, ...flags } = Object.getOwnPropertyDescriptor(value, key);
      seen.push(String(key), told(held), told(get), told(set), JSON.stringify(flags));
    }
  }
  return seen;
}
if (context.Data.payload) { LEAVE } else { setData(look()); }
"""
)

ATTACKS = {
    "a getter in the place of a function": """
      Object.defineProperty(globalThis, "setData", { get() { return () => 1 } });""",
    "getters on all that is global": """
      for (const name of Object.getOwnPropertyNames(globalThis)) {
        try { Object.defineProperty(globalThis, name, { get: () => "left" }) } catch {}
      }""",
    "everything deleted": """
      const keep = [Reflect.ownKeys, Object, Reflect], names = Reflect.ownKeys(globalThis);
      for (const name of names) {
        const holder = globalThis[name];
        for (const key of keep[0](holder?.prototype ?? {})) delete holder.prototype[key];
        if (!keep.includes(holder)) delete globalThis[name];
      }
      for (const key of keep[0](Object)) delete Object[key];""",
    "everything frozen": """
      for (const name of Object.getOwnPropertyNames(globalThis)) {
        const holder = globalThis[name];
        if (holder?.prototype) Object.freeze(holder.prototype);
        Object.freeze(holder);
      }
      Object.preventExtensions(globalThis);""",
    "another order of properties": """
      const { Array: array } = globalThis; delete globalThis.Array; globalThis.Array = array;
      const { http } = context; delete context.http; context.http = http;""",
    "other prototypes": """
      Object.setPrototypeOf(Array.prototype, { left: 1 });
      Object.setPrototypeOf(Function.prototype, null);
      Object.setPrototypeOf(globalThis, { left: 1 });""",
    "other prototypes of hidden objects": """
      const hidden = [async function () {}, function* () {}, async function* () {}, [][
        Symbol.iterator](), new Map().entries(), "".matchAll(/x/g), (function* () {})()];
      for (const each of hidden) {
        for (let p = Object.getPrototypeOf(each); p; p = Object.getPrototypeOf(p)) {
          try { p.left = 1; p[Symbol.toStringTag] = "left" } catch {}
        }
      }""",
    "names of global code": """
      (0, eval)("var left = 1; let kept = 2; const much = 3; function more() {}; class C {}");""",
    "symbols for all": """
      globalThis[Symbol.for("left")] = 1; Object.prototype[Symbol.for("left")] = 1;""",
    "promises and generators that wait": """
      globalThis.left = (function* () { try { yield 1 } finally { globalThis.ended = 1 } })();
      left.next();
      new Promise(() => {}).then(() => { globalThis.left = 2 });
      (async () => { await new Promise(() => {}); })(); Promise.resolve().then(() => left = 3);""",
    "callbacks for what is collected": """
      const registry = new FinalizationRegistry(() => { globalThis.left = 1 });
      for (let i = 0; i < 99; i++) registry.register({}, i);
      globalThis.left = new WeakRef({});""",
    "what was called before": """
      "left".match(/l(e)ft/); Error.stackTraceLimit = 1; Error.prepareStackTrace = () => "left";
      Math.random(); log("left"); console.log("left"); new URL("http://left/"); dayjs.locale("de");
      crypto.randomUUID(); zoned(0, "Europe/Berlin");
      context.progress(1, 2); structuredClone(new Map([[1, 2]]));""",
    "insides of the prelude": """
      const seen = [];
      Error.prepareStackTrace = (error, frames) => { seen.push(...frames); return "" };
      log({ toJSON() { new Error().stack } });
      for (const frame of [...seen]) {
        const work = frame.getFunction();
        if (!work || ["", "toJSON"].includes(work.name)) continue;
        for (let n = 0; n < 9; n++) try { work(n, "left", "left") } catch {}
      }""",
    "an output, and an error": """
      setData({ left: 1.50 }); throw Object.assign(new Error("left"), { kind: "not-allowed" });""",
    "an end": "retry(5, 'left');",
    "a rejection of a promise": "Promise.reject(new Error('left'));",
    "a deep stack": "(function deep() { try { deep() } finally { globalThis.left = 1 } })();",
    "much memory": """
      globalThis.left = []; for (let i = 0; i < 3e3; i++) left.push("x".repeat(5000) + i);""",
    "all memory": "globalThis.left = []; for (;;) left.push(new Uint8Array(1e6).fill(1));",
    "large objects that go": """
      for (let i = 0; i < 50; i++) new Array(1e4).fill(i).map(String).join();
      globalThis.left = new ArrayBuffer(1e6).transfer(10);""",
    "calls that are under way": "http.get('http://left/'); state.get('left');",
    "numbers as they were written": "context.left = context.Data; setData(context.Data);",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_message_finds_a_realm_as_the_first_did(attack: str) -> None:
    clean = run(LOOK.replace("LEAVE", ""))
    script = JavaScriptScript("pricing", LOOK.replace("LEAVE", attack), (), 64)
    replies = Replies(*[(1, {"error": "left", "kind": "left"})] * 2)

    for body in (None, b'{"correlationId": "c-1", "payload": {"1": 1.50, "0": -0}}'):
        with contextlib.suppress(ScriptError, MemoryError, StopIteration):
            run_once(script, True, body=body, replies=replies)

        assert run_once(script) == clean


def test_realm_is_made_once() -> None:
    script = JavaScriptScript("pricing", "setData(context.Data.payload)")
    run_once(script, 1)
    worlds = list(script._worlds._kept.values())

    assert [run_once(script, payload) for payload in range(3)] == [0, 1, 2]
    assert list(script._worlds._kept.values()) == worlds


def test_each_message_has_other_random_numbers_also_where_the_code_does_not_name_them() -> None:
    script = JavaScriptScript("pricing", "setData([Math['ran' + 'dom'](), Math['ran' + 'dom']()])")

    seen = [number for _ in range(5) for number in run_once(script)]

    assert len(set(seen)) == 10


def test_time_is_counted_from_the_message_on() -> None:
    code = "const begun = performance.timeOrigin; setData([begun, begun + performance.now()])"
    script = JavaScriptScript("pricing", code)
    _, ended = run_once(script)

    begun, _ = run_once(script)

    assert begun >= ended


def test_messages_that_use_much_memory_get_realms_of_their_own() -> None:
    code = "const a = Array.from({ length: 9e3 }, (_, i) => ({ i })); setData(a.length + 0)"
    script = JavaScriptScript("pricing", code)
    blocks = len(heap._sizes)

    assert [run_once(script) for _ in range(3)] == [9000] * 3
    assert script._worlds._makes_anew > 0
    script._worlds.close()
    assert len(heap._sizes) == blocks


def test_library_larger_than_the_first_heap_is_kept_too() -> None:
    library = "\n".join(f"function f{i}() {{ return {i} + 'text {i}' }}" for i in range(2500))
    script = JavaScriptScript("pricing", "setData(f2499())", [("Many", library)])

    assert [run_once(script) for _ in range(2)] == ["2499text 2499"] * 2
    assert None not in script._worlds._kept.values()


def test_realm_for_which_there_is_no_memory_is_an_error_of_its_message() -> None:
    library = "\n".join(f"var text{i} = 'text {i}';" for i in range(2000))
    script = JavaScriptScript("pricing", "setData(1)", [("Many", library)])
    script._worlds = Worlds(script._prelude, *script._worlds._content[1:], memory_bytes=250_000)

    for _ in range(2):
        with pytest.raises(MemoryError):
            run_once(script)
    assert script._worlds._kept == {}


@pytest.mark.parametrize("step", ["__init__", "keep"])
def test_realm_that_has_no_room_for_its_copy_is_made_anew(monkeypatch, step: str) -> None:
    def is_full(*_: object) -> None:
        raise MemoryError

    script = JavaScriptScript("pricing", "setData(context.Data.payload)")
    realms = len(quickjs._realms)
    monkeypatch.setattr(Heap, step, is_full)

    assert [run_once(script, payload) for payload in range(3)] == [0, 1, 2]
    assert list(script._worlds._kept.values()) == [None]
    assert len(quickjs._realms) == realms


def test_heap_is_byte_by_byte_what_it_was() -> None:
    kept = Heap(1024 * 1024)
    realm = Realm(heap=kept)
    realm.keep_state()
    engine, context = realm._engine, realm._context
    source = b"globalThis.left = []; for (let i = 0; i < 2e3; i++) left.push('x'.repeat(i))"
    before = ctypes.string_at(kept._start, kept._limit - kept._start)

    realm.free(engine.evaluate(context, source, len(source), None))
    used = kept._end
    assert kept._elsewhere
    kept.restore()

    assert ctypes.string_at(kept._start, kept._limit - kept._start) == before
    assert not kept._elsewhere
    assert used > kept._end
    realm.close()


def test_short_message_asks_its_heap_for_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    script = JavaScriptScript("pricing", "setData(context.Data)")
    run_once(script, "the first makes the realm")
    asked: list[int] = []
    take = Heap.take

    def noted(own: Heap, size: int) -> int | None:
        asked.append(size)
        return take(own, size)

    monkeypatch.setattr(Heap, "take", noted)

    run_once(script, {"number": 1, "text": "x" * 200})
    assert asked == []

    run_once(script, "x" * 2000)
    assert asked


def test_heap_that_is_too_small_keeps_nothing() -> None:
    realm = Realm(heap=Heap(64 * 1024))

    with pytest.raises(Full):
        realm.keep_state()
    realm.close()


@pytest.mark.parametrize("size", [1, 63, 64, 65, 4096, 100_000])
def test_block_of_a_heap_keeps_its_content_in_another_size(size: int) -> None:
    own = Heap(128 * 1024)
    place = own.take(100)
    assert place
    ctypes.memmove(place, b"x" * 100, 100)

    moved = own.change(place, size)

    assert moved
    assert ctypes.string_at(moved, min(size, 100)) == b"x" * min(size, 100)
    own.close()
    assert moved not in heap._sizes

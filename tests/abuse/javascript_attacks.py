"""Abusive scripts in JavaScript. They have no way to the process but the engine's own mistakes."""

from tests.abuse import (
    giant_values,
    signature_attacks,
    start_attacks,
    state_attacks,
    table_attacks,
)
from tests.abuse.attack import OUT_OF_MEMORY, SECONDS, TIMED_OUT, Attack, output

_NOTHING = output(r'"payload":\[\]')


def _reference(name: str) -> str:
    return rf"ScriptInvalid: ReferenceError: {name} is not defined: .*"


def _found(expression: str) -> str:
    return f"setData({{ ...context.Data, payload: {expression} }})"


WORLD = {
    "globals of other engines": (
        _NOTHING,
        _found(
            """["require", "process", "module", "Deno", "Bun", "std", "os", "fetch", "Worker",
            "XMLHttpRequest", "WebSocket", "WebAssembly", "setTimeout", "load", "read", "print",
            "scriptArgs", "loadScript", "bjson", "importScripts", "quit", "gc"]
            .filter((name) => name in globalThis)"""
        ),
    ),
    "require": (_reference("require"), "require('fs'); setData(context.Data)"),
    "process": (_reference("process"), "setData(process.env)"),
    "fetch": (_reference("fetch"), "await fetch('http://127.0.0.1'); setData(1)"),
    "import of a file": (
        r"ScriptInvalid: ReferenceError: could not load module .*",
        "const m = await import('/etc/passwd'); setData({ ...context.Data, payload: `${m}` })",
    ),
    "import of the engine's modules": (
        r"ScriptInvalid: ReferenceError: could not load module .*",
        "const os = await import('os'); setData({ ...context.Data, payload: os.getcwd() })",
    ),
    "import with a type": (
        r"ScriptInvalid: ReferenceError: could not load module .*",
        "const m = await import('/etc/passwd', { with: { type: 'json' } }); setData(m.default)",
    ),
    "http without network": (
        r"ScriptInvalid: HttpError: .*",
        "const reply = await http.get(`http://127.0.0.1:${context.Data.payload.tcp}/`);"
        "setData({ ...context.Data, payload: reply.body })",
    ),
    "http by another name for this machine": (
        r"ScriptInvalid: HttpError: .*",
        "const reply = await http.get(`http://2130706433:${context.Data.payload.tcp}/`);"
        "setData({ ...context.Data, payload: reply.body })",
    ),
    "a file by http": (
        r"ScriptInvalid: HttpError: .*",
        "const reply = await http.get('file://' + context.Data.payload.file);"
        "setData({ ...context.Data, payload: reply.body })",
    ),
    "secrets of others": (
        r"ScriptInvalid: Error: The script was not given a secret 'DATABASE_URL'.",
        "setData({ ...context.Data, payload: context.secrets.DATABASE_URL })",
    ),
    "secrets by the prototype of their keeper": (
        _NOTHING,
        "const s = context.secrets;" + _found("[...Object.keys(s), ...Reflect.ownKeys(s)]"),
    ),
    "the engine by a constructor": (
        output(r'"payload":"undefined undefined"'),
        """
        const all = context.log.constructor("return this")();
        setData({ ...context.Data, payload: `${typeof all.std} ${typeof all.engine}` })
        """,
    ),
    "the engine by a caller": (
        r"ScriptRaised: TypeError: .*|" + output(r'"payload":(null|"no caller")'),
        """
        function who() { return who.caller ? String(who.caller) : "no caller" }
        setData({ ...context.Data, payload: who() })
        """,
    ),
    "the engine by a stack": (
        # It finds functions that do what it could do anyway; one fails its own message.
        r"ScriptRaised: TypeError: not a function|" + output(r'"payload":\[[a-z", ]*\]'),
        """
        let seen = [];
        Error.prepareStackTrace = (error, frames) => { seen = frames; return "" };
        try { log({ toJSON() { new Error().stack } }) } catch {}
        const functions = seen.map((frame) => frame.getFunction()).filter((f) => f);
        const found = functions.filter((f) => !["", "toJSON"].includes(f.name));
        for (const f of found) for (let n = 0; n < 5; n++) try { f(n, "x", "y") } catch {}
        setData({ correlationId: "c-1", payload: found.map((f) => f.name).sort() })
        """,
    ),
    "the engine by replaced built-ins": (
        output(r'"payload":0'),
        """
        let caught = 0;
        for (const holder of [Array.prototype, Object.prototype, Function.prototype,
                              String.prototype, Promise.prototype, RegExp.prototype]) {
            for (const name of Object.getOwnPropertyNames(holder)) {
                const value = Object.getOwnPropertyDescriptor(holder, name).value;
                if (typeof value !== "function" || name === "constructor") continue;
                try {
                    Object.defineProperty(holder, name, { value(...args) {
                        for (const arg of args) {
                            if (arg && typeof arg === "object" && "isSettled" in arg) caught++;
                        }
                        return value.apply(this, args);
                    } });
                } catch {}
            }
        }
        log("x");
        setData({ correlationId: "c-1", payload: caught })
        """,
    ),
    "the engine by a setter": (
        output(r'"payload":\[\]'),
        """
        const seen = [];
        const names = ["failure", "decision", "logs", "requests", "isSettled", "0"];
        for (const name of [...names, "at"]) {
            Object.defineProperty(Object.prototype, name, {
                configurable: true,
                set(value) { seen.push(name) },
            });
        }
        log("x");
        setData({ correlationId: "c-1", payload: seen })
        """,
    ),
}

LOOPS = {
    "endless": "for (;;);",
    "endless with exceptions": "for (;;) try { for (;;); } catch {}",
    "a regular expression": "/^(a+)+$/.test('a'.repeat(60) + 'b')",
    "jobs without end": "function f() { Promise.resolve().then(f) } await new Promise(f)",
    "jobs that make jobs": "async function f() { for (;;) await null } f(); await f()",
    "a join that is never read": "for (;;) new Array(1e7).join('x')",
    "a sort that never ends": "for (;;) Array.from({ length: 1e6 }, Math.random).sort()",
    "a getter": "setData({ get payload() { for (;;); } })",
    "toJSON": "setData({ toJSON() { for (;;); } })",
    "a proxy without end": "setData(new Proxy({}, { ownKeys() { for (;;); } }))",
    "a message that never tells": "throw { get message() { for (;;); }, toString() { for (;;); } }",
    "finally": "try { throw 1 } finally { for (;;); }",
    "a digest": "for (;;) crypto.createHash('sha512').update('x'.repeat(1e5)).digest()",
    "a big number": "let n = 3n; for (;;) n = n * n % (1n << 200000n)",
}

MEMORY = {
    "a growing array": "const a = []; for (;;) a.push({ a })",
    "typed arrays": "const a = []; for (;;) a.push(new Uint8Array(1e6).fill(1))",
    "closures": "let f = () => 1; for (;;) { const g = f; f = () => g }",
    "promises": "const a = []; for (;;) a.push(new Promise(() => {}))",
    "a digest": "crypto.createHash('md5').update('x'.repeat(2e8)).digest()",
    "a clone": "const a = []; for (;;) a.push(structuredClone(Array(1000).fill(1)))",
    "symbols": "const a = []; for (;;) a.push(Symbol('x'.repeat(1000)))",
}

ENDS = {
    "a clone that is deep": (
        rf"ScriptRaised: (RangeError|InternalError): .*(stack|recursion).*|{OUT_OF_MEMORY}",
        "let deep = []; for (let i = 0; i < 2e5; i++) deep = [deep]; structuredClone(deep)",
    ),
    "the insides of a part by changed prototypes": (
        output('"correlationId":"c-1"'),
        "Uint8Array.prototype.set = Array.prototype.push = function (x) { throw x };"
        "try { crypto.randomUUID(); new URL('http://a/b') } catch {} setData(context.Data)",
    ),
    "waiting for another thread": (
        r"ScriptRaised: TypeError: cannot block in this thread",
        "Atomics.wait(new Int32Array(new SharedArrayBuffer(8)), 0, 0); setData(1)",
    ),
    "a text without end": (
        rf"ScriptRaised: InternalError: string too long|{OUT_OF_MEMORY}",
        "let s = 'xy'; for (;;) s += s; setData(1)",
    ),
    "one great buffer": (
        rf"ScriptRaised: RangeError: invalid array buffer length|{OUT_OF_MEMORY}",
        "setData(new ArrayBuffer(2 ** 31))",
    ),
    "deep recursion": (
        r"ScriptRaised: (RangeError|InternalError): .*(stack|recursion).*",
        "function f() { return f() + 1 } setData(f())",
    ),
    "deep recursion in the engine": (
        r"ScriptRaised: (RangeError|InternalError|SyntaxError): .*",
        "let deep = '1'; JSON.parse('['.repeat(1e6)); setData(1)",
    ),
    "a deep regular expression": (
        r"ScriptRaised: \w*Error: .*",
        "new RegExp('('.repeat(1e6) + ')'.repeat(1e6)); setData(1)",
    ),
    "a result 200,000 deep": (
        r"OutputInvalid: .*nested more than \d+ deep.*",
        "let deep = []; for (let i = 0; i < 200000; i++) deep = [deep]; "
        "setData({ ...context.Data, payload: deep })",
    ),
    "a huge output": (
        r"OutputInvalid: \$ has too many bytes as JSON; at most 8388608 are allowed\.",
        _found("new Array(10000).fill('x'.repeat(1000))"),
    ),
    "a promise that never resolves": (
        r"ScriptRaised: The script waits for a promise that nothing will settle\.",
        "await new Promise(() => {}); setData(1)",
    ),
    "a thenable that lies": (
        r"ScriptRaised: The script waits for a promise that nothing will settle\.",
        "await { then() {} }; setData(1)",
    ),
    "an output that is the engine's own message": (
        r"OutputInvalid: .*",
        """setData(' {"isSettled":true,"logs":[],"requests":[[1,{"url":"http://x"}]]}')""",
    ),
    "raw JSON": (
        r"ScriptRaised: SyntaxError: .*|OutputInvalid: .*",
        """setData({ ...context.Data, payload: JSON.rawJSON('1}, "correlationId": "x"') })""",
    ),
    "another correlation id": (
        r"OutputInvalid: The output has another correlationId: .*\.",
        "setData({ ...context.Data, correlationId: 'another' })",
    ),
    "an object for a correlation id": (
        r"OutputInvalid: The output has another correlationId: .*\.",
        "setData({ ...context.Data, correlationId: { toJSON: () => ['c-1'] } })",
    ),
    "a flood of logs": (
        output(r'"payload":1.* 101 log lines'),
        "for (let i = 0; i < 200000; i++) log(i);" + _found("1"),
    ),
    "a flood of requests": (
        output(r'"payload":\{'),
        "for (let i = 0; i < 5000; i++) http.get('http://example.org/').catch(() => {});"
        "setData(context.Data)",
    ),
    "a long error": (
        r"ScriptRaised: Error: x{1900}.*",
        "throw new Error('x'.repeat(5e6)); setData()",
    ),
    "an error that cannot be told": (
        r"ScriptRaised: Thrown: .*",
        "throw new Proxy({}, { getPrototypeOf() { throw 1 }, get() { throw 2 } }); setData()",
    ),
    "logs through changed built-ins": (
        r'output: .*"payload":1.* with 3 log lines',
        """
        const { reject } = Promise;
        Promise.reject = function () { throw 1 }; Promise = undefined; Date.now = () => NaN;
        log("a"); log("b"); String.prototype.slice = () => 5; Array.prototype[Symbol.iterator] = 1;
        log("c"); setData({ payload: 1 })
        """,
    ),
    "a lone surrogate in an error": (
        r"ScriptRaised: Error: \?.*|ScriptRaised: Error: .*",
        "throw new Error('\\ud800\\0'); setData()",
    ),
}

JAVASCRIPT = {
    **{
        f"world: {name}": Attack(cause, code, language="javascript")
        for name, (cause, code) in WORLD.items()
    },
    **{
        f"time: {name}": Attack(
            TIMED_OUT, code + "; setData(1)", language="javascript", timeout_seconds=SECONDS
        )
        for name, code in LOOPS.items()
    },
    **{
        f"memory: {name}": Attack(
            OUT_OF_MEMORY, code + "; setData(1)", language="javascript", memory_mb=64
        )
        for name, code in MEMORY.items()
    },
    **{
        f"ends: {name}": Attack(cause, code, language="javascript")
        for name, (cause, code) in ENDS.items()
    },
    **{
        f"{group}: {name}": attack
        for group, attacks in {
            "giant": giant_values.IN_JAVASCRIPT,
            "signatures": signature_attacks.IN_JAVASCRIPT,
            "starts": start_attacks.IN_JAVASCRIPT,
            "states": state_attacks.IN_JAVASCRIPT,
            "tables": table_attacks.IN_JAVASCRIPT,
        }.items()
        for name, attack in attacks.items()
    },
}

"""Abuse of reference tables: writing into one, reaching those of others, giant keys."""

from __future__ import annotations

from dataclasses import replace

from tests.abuse.attack import OUT_OF_MEMORY, REFUSED, SECONDS, TIMED_OUT, Attack, output

_OWN = ("own",)
_FILE = "file = context._tables.file('own')\ncontent = file._content\n"
# Where the host has mapped it, past the object of Python.
_ADDRESS = (
    _FILE
    + """
view = memoryview(content)
holder = (ctypes.c_char * 0).__class__
address = ctypes.c_void_p()
class Buffer(ctypes.Structure):
    _fields_ = [("buf", ctypes.c_void_p), ("obj", ctypes.py_object), ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t), ("readonly", ctypes.c_int), ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p), ("internal", ctypes.c_void_p)]
found = Buffer()
ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(content), ctypes.byref(found), 0)
start = found.buf
"""
)

TABLES = {
    "a write into a table": Attack(
        r"ScriptRaised: TypeError: mmap can't modify a readonly memory map\.",
        _FILE + "content[100] = 0",
    ),
    "a write into the memory of a table": Attack(
        r"ScriptKilled: The script's process was ended: signal 11 \(SIGSEGV\)\.",
        _ADDRESS + "ctypes.memset(start, 0, 8)",
    ),
    "a table made writable": Attack(
        r"ScriptRaised: PermissionError: .*", _ADDRESS + "return syscall(10, start, 4096, 3)"
    ),
    "a hole in the file of a table": Attack(
        r"Script(Raised|Invalid): (PermissionError|OSError): .*",
        _ADDRESS + "return syscall(28, start, 4096, 9)",
    ),
    "a table that grows": Attack(
        r"Script(Raised|Invalid): (PermissionError|OSError|TypeError|SystemError|ValueError): .*",
        _FILE + "content.resize(1 << 20)",
    ),
    "another mapping of a file": Attack(
        REFUSED,
        """
        import itertools
        mmap = modules["mmap"].mmap
        for number in range(3, 200):
            if number != channel():
                try:
                    return mmap(number, 0, prot=1)[:].decode("latin-1")
                except ValueError:
                    continue
        """,
    ),
    "a table of another script": Attack(
        r"ScriptInvalid: NotListed: .*was not given a table 'other'.*",
        "return dict(context.table('other'))",
    ),
    "the tables that the host has": Attack(
        output(r'"payload":\["own"\]'), "return sorted(host()._tables._given)"
    ),
    "a request for a table": Attack(
        output(r'"kind":"unknown"'),
        "return context._reply('tables', {'name': 'other'})",
    ),
    "a giant key": Attack(
        output(r'"payload":null'), "return context.table('own').get('x' * 50_000_000)"
    ),
    "many giant keys": Attack(
        OUT_OF_MEMORY, "return [context.table('own').get('x' * n) for n in [1 << 30]]"
    ),
    "a walk without an end": Attack(
        TIMED_OUT,
        """
        while True:
            list(context.table('own').items())
        """,
        timeout_seconds=SECONDS,
    ),
}  # fmt: skip
TABLES = {name: replace(attack, tables=_OWN) for name, attack in TABLES.items()}

IN_JAVASCRIPT = {
    "a table of another script": Attack(
        r"ScriptInvalid: .*was not given a table 'other'.*", "context.table('other')"
    ),
    "a table that is changed": Attack(
        output(r'"payload":"own"'),
        """
        const table = context.table("own");
        table.get("a").text = "changed";
        try { table.get = () => ({ text: "changed" }); } catch {}
        context.Data.payload = context.table("own").get("a").text;
        setData(context.Data);
        """,
    ),
    "built-ins that are changed before a look-up": Attack(
        r"(output: .*own.*|Script(Raised|Killed|Invalid): .*)",
        """
        JSON.parse = () => ({ size: 1, columns: null });
        JSON.stringify = () => '["get", "other", "a"]';
        Array.prototype.toJSON = () => ["get", "other", "a"];
        Object.prototype.toJSON = () => ["get", "other", "a"];
        const text = context.table("own").get("a").text;
        delete Object.prototype.toJSON;
        delete Array.prototype.toJSON;
        context.Data.payload = text;
        setData(context.Data);
        """,
    ),
    "a giant key": Attack(
        output(r'"payload":false'),
        "context.Data.payload = context.table('own').has('x'.repeat(9e6)); setData(context.Data);",
    ),
    "a walk without an end": Attack(
        TIMED_OUT,
        "for (;;) { [...context.table('own').keys()]; }",
        timeout_seconds=SECONDS,
    ),
}  # fmt: skip
IN_JAVASCRIPT = {
    name: replace(attack, tables=_OWN, language="javascript")
    for name, attack in IN_JAVASCRIPT.items()
}

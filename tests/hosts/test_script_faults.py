import pytest

from scripts.examination.faults import library_faults, script_faults

RUN = "def run(message, context): return message\n"


def faults(code, language="python", libraries=()):
    return [str(fault) for fault in script_faults(language, code, libraries)]


@pytest.mark.parametrize(
    "code",
    [
        "def run(message, context):\n    return message\n",
        "def other(message, context): ...\nrun = other\n",
        "run = lambda message, context: message",
        "if True:\n    def run(message, context): ...\n",
        "try:\n    from json import loads as run\nexcept ImportError:\n    run = None\n",
        "run: object = print",
        "import re\npattern = '\\d'\ndef run(message, context): return message",
        "def run(*everything): ...",
        "def run(message, context, extra=None, *, more=1): ...",
        "def run(message, /, context): ...",
        "def run(): ...\ndef run(message, context): ...",
    ],
)
def test_python_code_that_defines_run_is_accepted(code):
    assert faults(code) == []


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("def run(message, context):\n    return (\n", "line 2: "),
        ("x = 1\nreturn x\n", "line 2: 'return' outside function"),
        ("def walk(message, context): ...", "does not define run(message, context)"),
        ("class A:\n    def run(self): ...", "does not define run"),
        ("def outer():\n    def run(message, context): ...", "does not define run"),
        ("print(run)", "does not define run"),
        ("\n\nasync def run(message, context): ...", "line 3: run must be a plain function"),
        ("\ndef run(message): ...", "line 2: run must take (message, context)"),
        ("def run(): ...", "line 1: run must take (message, context)"),
        ("def run(a, b, c): ...", "line 1: run must take (message, context)"),
        ("def run(a, b, *, c): ...", "line 1: run must take (message, context)"),
        ("(" * 500, "line 1: "),
        ("x = " + "-" * 200_000 + "1", "does not compile"),
    ],
)
def test_other_python_code_is_refused_with_the_line(code, fault):
    assert [fault in found for found in faults(code)] == [True]


@pytest.mark.parametrize(
    "code",
    [
        "import json, urllib.parse",
        "import collections.abc as abc",
        "from urllib import parse",
        "from datetime import datetime, timedelta",
        "from __future__ import annotations",
        "import asyncengine_script as types",
        "from asyncengine_script import Context, Message, Reject, Retry",
        "import money",
        "from money import rounded",
        "try:\n    import numpy\nexcept ImportError:\n    numpy = None",
        "try:\n    import numpy\nexcept (ModuleNotFoundError, ValueError):\n    numpy = None",
    ],
)
def test_imports_of_known_modules_and_of_the_libraries_are_accepted(code):
    assert faults(f"{code}\n{RUN}", libraries=[("money", "")]) == []


@pytest.mark.parametrize(
    ("code", "line", "module"),
    [
        ("import json\nimport os", 2, "os"),
        ("import urllib", 1, "urllib"),
        ("from urllib import parse, request", 1, "urllib"),
        ("import json, socket", 1, "socket"),
        ("def help():\n    import requests", 2, "requests"),
        ("try:\n    import numpy\nexcept KeyError:\n    pass", 2, "numpy"),
        ("try:\n    pass\nexcept ImportError:\n    import numpy", 4, "numpy"),
    ],
)
def test_an_import_that_would_fail_is_refused_with_the_line(code, line, module):
    [fault] = faults(f"{code}\n{RUN}")

    assert fault.startswith(f"line {line}: module '{module}' may not be imported")
    assert "manage.py script modules lists those that may" in fault


def test_a_relative_import_is_refused():
    assert faults(f"from . import other\n{RUN}") == [
        "line 1: a script has no package to import from"
    ]


def test_every_fault_of_python_code_is_named():
    assert len(faults("import os\nimport sys\ndef run(): ...")) == 3


def test_an_import_of_what_a_module_does_not_have_is_refused():
    assert faults(f"from json import dumps, nothing\n{RUN}") == [
        "line 1: the module 'json' has no 'nothing'"
    ]
    assert faults(f"from collections import abc, OrderedDict\nfrom math import *\n{RUN}") == []


def test_code_is_not_executed():
    assert faults("raise SystemExit(1)\ndef run(message, context): ...") == []


@pytest.mark.parametrize(
    "code",
    [
        "setData(context.Data)",
        "fetchAll().then(setData);",
        "let a = '/*'; setData(a); // '*/'",
        "/* setData below */ setData(1)",
        "if (/^https?:\\/\\//.test(url)) setData(1); return;",
        "setData(await http.get('https://a'))",
        "reject('not a customer');",
        "retry(60)",
        "wait({ after: 60 })",
        "context.finish({ done: true })",
        "const { go } = context; go('last', context.Data)",
    ],
)
def test_javascript_that_calls_what_ends_it_is_accepted(code):
    assert faults(code, "javascript") == []


@pytest.mark.parametrize("code", ["", "// setData(1)", "/* a\nsetData(1) */ let setDataLater = 1"])
def test_javascript_that_never_calls_set_data_is_refused(code):
    assert faults(code, "javascript") == ["never calls setData(output)"]


def test_javascript_that_does_not_compile_is_named_with_its_line():
    assert faults("let a;\nlet b = = 1; setData(a)", "javascript") == [
        "line 2: unexpected token in expression: '='"
    ]


MISSING = {
    "const fs = require('fs');": "require is not defined: list a library",
    "log(1); await fetch('https://a.b');": "fetch is not defined: use http.get(url)",
    "log(`${fetch(1)}`);": "fetch is not defined",
    "const x = process\n.env;": "process is not defined: secrets are in context.secrets",
    "try { } catch { } require('fs');": "require is not defined",
    "await import('fs');": "import() finds no module: list a library",
    "new Buffer(1);": "Buffer is not defined",
    "const data = new FormData();": "FormData is not defined: give form and files",
    "AbortSignal.timeout(5);": "AbortSignal is not defined: give timeout",
    "setTimeout(() => 1, 5);": "setTimeout is not defined: there are no timers",
}
THERE = [
    "// fetch(1)\nlog('fetch(1)', `fetch(1)`, /fetch(1)/);",
    "log(x.replace(/\"/g, 'fetch(1)'));",
    "function fetch() {} fetch(1);",
    "const { fetch } = new L(); fetch(1);",
    "class A { fetch(url) {} } new A().fetch(1);",
    "const o = { require() {}, process: 1 }; o.require(o.process);",
    "[1].map((process) => process.x);",
    "process = 5; log(process);",
    "typeof process === 'object' && process.env;",
    "if ('fetch' in globalThis) fetch(1);",
    "globalThis.process?.cwd(); process.cwd();",
    "try { require('fs') } catch { log('none') }",
    "log(performance.now());",
    '"object" == typeof exports && "undefined" != typeof module'
    ' ? (module.exports = e(require("dayjs"))) : e(dayjs);',
]


@pytest.mark.parametrize("before", ["", "const a = { b: 1 };\n"])
@pytest.mark.parametrize("code", MISSING)
def test_javascript_that_uses_what_is_never_there_is_refused_with_the_line(before, code):
    [fault] = faults(f"{before}{code} setData(1)", "javascript")

    assert fault.startswith(f"line {2 if before else 1}: {MISSING[code]}")


@pytest.mark.parametrize("code", THERE)
def test_javascript_that_only_speaks_of_it_or_has_it_is_accepted(code):
    assert faults(f"{code} setData(1)", "javascript") == []
    assert [str(each) for each in library_faults("javascript", code)] == []


def test_a_javascript_library_may_give_what_is_missing_else():
    library = ("Polyfill", "var fetch = function (url) { return http.get(url); };")

    assert faults("await fetch(1); setData(1)", "javascript", [library]) == []
    assert faults("await fetch(1); setData(1)", "javascript", [("None", "// fetch")]) != []


def test_a_javascript_library_is_refused_what_is_never_there():
    [fault] = library_faults("javascript", "var A = function () {\n  return require('x');\n};")

    assert str(fault).startswith("line 2: require is not defined")


def test_javascript_whose_libraries_are_not_known_must_compile_alone():
    assert faults("await fetch(1);", "javascript", None) == []
    assert faults("let x = ;", "javascript", None) == [
        "line 1: unexpected token in expression: ';'"
    ]


@pytest.mark.long
def test_long_javascript_is_looked_through_in_little_time():
    code = "log('process');\n" * 16_000 + "setData(1)"

    assert faults(code, "javascript") == []


def test_javascript_is_read_but_not_executed():
    assert faults("for (;;); setData(1)", "javascript") == []
    assert library_faults("javascript", "for (;;);") == []
    assert [str(fault) for fault in library_faults("javascript", "var A = {\n  a: };")] == [
        "line 2: unexpected token in expression: '}'"
    ]


def test_a_javascript_library_may_call_set_data_for_the_script():
    library = ("Answers", "var Answers = Answers || (function() { setData(1); })")

    assert faults("new Answers().give()", "javascript", [library]) == []


@pytest.mark.parametrize("code", ["\nimport os", "\nfrom os.path import join"])
def test_a_library_imports_no_module_that_a_script_may_not(code):
    (fault,) = library_faults("python", code)

    assert fault.line == 2
    assert fault.text.startswith(f"module '{code.split()[1]}' may not be imported")


@pytest.mark.parametrize(
    "code",
    ["import json", "import other_library", "try:\n    import os\nexcept ImportError:\n    0"],
)
def test_a_library_may_import_modules_libraries_and_what_it_can_do_without(code):
    assert library_faults("python", code) == []


def test_a_library_needs_no_run_and_must_compile():
    assert library_faults("python", "def rounded(amount): return round(amount, 2)") == []
    assert [str(fault) for fault in library_faults("python", "\ndef rounded(:")] == [
        "line 2: invalid syntax"
    ]

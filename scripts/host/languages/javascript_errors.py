"""Says more about errors of JavaScript than its engine does: hints, and which value it was."""

from __future__ import annotations

import re
from collections.abc import Iterable

from scripts.host.languages.javascript_marks import (
    CALL,
    COMPUTED,
    ITERATE,
    OPEN,
    READ,
    WRITE,
    Marks,
    Operation,
)

_CALLS = "use http.get(url) and its like, and await them"
_TIMES = "there are no timers; wait(seconds, reason) has the message delivered again later"
_LIMITS = "give timeout, in seconds, as an option of a request"
LIBRARIES = "list a library on the script instead, its names are there without an import"
# What other JavaScript has and a script does not.
MISSING = {
    "require": LIBRARIES,
    "module": LIBRARIES,
    "exports": LIBRARIES,
    "fetch": _CALLS,
    "XMLHttpRequest": _CALLS,
    "axios": _CALLS,
    "setTimeout": _TIMES,
    "setInterval": _TIMES,
    "setImmediate": _TIMES,
    "clearTimeout": _TIMES,
    "AbortController": _LIMITS,
    "AbortSignal": _LIMITS,
    "FormData": "give form and files as options of a request",
    "Headers": "give headers as an object",
    "Blob": "use Uint8Array",
    "localStorage": "use context.state",
    "Temporal": "use dayjs() and zoned()",
    "process": "secrets are in context.secrets",
    "global": "use globalThis",
    "window": "there is no page; use globalThis",
    "document": "there is no page",
    "Buffer": "use Uint8Array, TextEncoder, btoa() and atob()",
    "moment": "use dayjs()",
}
_TWICE = "SyntaxError: redeclaration of '"
NO_MODULE = "ReferenceError: could not load module "
_UNDEFINED = re.compile(r"^ReferenceError: ([\w$]+) is not defined$")
# Of the objects of the engine and of the language, not of what came with the message.
_OBJECTS = (
    "context|http|ftos|console|Array|Date|JSON|Math|Number|Object|Promise|Reflect|String|crypto"
)
_OURS = rf"(?:{_OBJECTS})(?!\.(?:Data|waitState)\b)(?:\.\w+)?"
_NOT_OURS = re.compile(
    rf"^TypeError: (?:(?P<called>{_OURS})\.\w+ is not a function"
    rf"|.*: (?P<read>{_OURS}) is undefined)$"
)
_ALWAYS_THERE = re.compile(rf"(?:{_OBJECTS}|log|setData)$")
# Functions of the language, which an error is about only where it can be about nothing else.
_FUNCTIONS = re.compile(
    r"(?:Array|BigInt|Boolean|Date|Map|Number|Object|Promise|RegExp|Set|String|Symbol|URL"
    r"|\w*Error|U?[Ii]nt\w+Array|Uint8ClampedArray|Float\w+Array|is(?:Finite|NaN)|parse(?:Float|Int)"
    r"|(?:en|de)codeURI(?:Component)?|structuredClone|log|JSON\.(?:parse|stringify)"
    r"|Math\.(?:abs|ceil|floor|max|min|pow|random|round|sqrt|trunc)"
    r"|Object\.(?:assign|entries|freeze|fromEntries|keys|values)|Array\.(?:from|isArray|of)"
    r"|Date\.(?:now|parse|UTC)|Number\.(?:is(?:Finite|Integer|NaN)|parse(?:Float|Int)))$"
)
# An assignment, which makes a variable that is not declared.
_ASSIGNED = r"(?<![\w$.]){0}\s*=(?![=>])"
# A name that is defined, also as a parameter. What is given to a function may be one there.
_DEFINED = r"\b(?:const|let|var|function|class)\s+{0}\b|\b{0}\s*=>|[(,{{\[:.]\s*{0}\s*[,)=}}\]]"

_MODULES = re.compile(r"^\s*(import\b(?!\s*\()|export\b)")
_TYPES = re.compile(
    r"^\s*(?:declare\s|interface\s+\w|type\s+\w+\s*=|enum\s+\w|namespace\s+\w|abstract\s+class)"
    r"|\b(?:let|const|var)\s+[\w$]+\s*:|[(,]\s*[\w$]+\??\s*:\s*[\w$<>\[\]| ]+[,)=]"
    r"|\)\s*:\s*[\w$<>\[\]| ]+\s*(?:\{|=>)|\b(?:private|public|protected|readonly)\s+[\w$]+"
    r"|[\w$)\]]\s+as\s+[\w$]+|\bfunction\s+[\w$]+<"
)
_RETURN = re.compile(r"^\s*return\b")
_AWAIT = re.compile(r"(?<![\w$.])await\s+[\w$(]")
_BIG = "whole numbers beyond 2**53 come as BigInt: write 1n for 1, or Number(n) or String(n)"
_ABOUT_BIG = ("TypeError: cannot convert BigInt", "TypeError: BigInt are forbidden")

_PROPERTY = re.compile(r"cannot (read|set) property '([^']+)' of (undefined|null)$")
_MAX_SHOWN = 80
_READ_ONLY = re.compile(r"^TypeError: '([^']+)' is read-only$")
_NOT_ITERABLE = "TypeError: value is not iterable"
_NO_OBJECT = "TypeError: Cannot convert undefined or null to object"
# Names, one of the other, with calls of one level.
_CHAIN = (
    r"(?!(?:const|let|var|new|await)\b)[A-Za-z_$][\w$]*(?:\??\.[\w$]+|\[[^\[\]\n]*\]|\([^()\n]*\))*"
)
_OPERAND = re.compile(rf"\b(?:in|instanceof)\s*({_CHAIN})\s*(?:[\])}},;]|$)")
_MAX_NAMED = 4
NO_FUNCTION = "TypeError: not a function"
_NO_OPERAND = re.compile(r"TypeError: invalid '\w+' (?:\w+ )?operand$")
NO_CLASS_CALL = "TypeError: class constructors must be invoked with 'new'"


def syntax_hint(message: str, line: str, column: int, *, is_library: bool) -> str:
    """Return what helps with a line that does not compile, "" where that is not known."""
    if message.startswith("invalid redefinition"):
        names = re.findall(r"[\w$]+", line[:column]) + re.findall(r"^[\w$]+", line[column - 1 :])
        return f"{names[-1]} is declared twice" if names else ""
    if _MODULES.search(line):
        return f"a script is no module; {LIBRARIES}"
    if is_library and _RETURN.search(line):
        return "a library is no function: wrap it in one, as in var X = X || (function () {…})"
    if message.startswith("expecting") and _AWAIT.search(line):
        return "await stands in async functions only: write async before the function around it"
    if _TYPES.search(line):
        return "this looks like TypeScript; a script is JavaScript, without types"
    return ""


def is_never_there(message: str) -> bool:
    """Whether an error is about a name that scripts do not have, or that libraries define twice."""
    if message.startswith((NO_MODULE, _TWICE)):
        return True
    missing = _UNDEFINED.match(message)
    return missing is not None and missing[1] in MISSING


def never_there(name: str) -> str:
    """Return what is told of the use of a name that scripts do not have."""
    if name == "import":
        return f"import() finds no module: {LIBRARIES}"
    return f"{name} is not defined: {MISSING[name]}"


def is_unknown_name(message: str, told: str, codes: Iterable[str]) -> bool:
    """Whether an error is about a name that stands nowhere, also in the objects of every script.

    `told` is the message with the value that it is about. What the code itself calls `context`, or
    by the name of another such object, may be what came from outside; and a variable that is not
    declared has a value where the code has come by.
    """
    if missing := _UNDEFINED.match(message):
        name, where = missing[1], _ASSIGNED
    elif found := _NOT_OURS.match(told):
        name, where = (found["called"] or found["read"]).partition(".")[0], _DEFINED
    else:
        return False
    given = re.compile(where.format(re.escape(name)))
    return not any(map(given.search, codes))


def more_about(
    message: str, marks: Marks, line: int | None, column: int, native: str
) -> tuple[str, tuple[int, int] | None]:
    """Return the message of an error with the value that it is about, or with a hint.

    The engine knows it at this line and column, in the function of the engine that `native` names.
    Beside the message comes the place of the value where that is another. Where several operations
    could be meant none is named: a wrong name is worse than none.
    """
    if missing := _UNDEFINED.match(message):
        hint = MISSING.get(missing[1])
        return (f"{message}: {hint}" if hint else message), None
    if message.startswith(_ABOUT_BIG):
        return f"{message}: {_BIG}", None
    if native:
        return _given_to(message, marks, line, native), None
    if found := _READ_ONLY.match(message):
        return message, marks.place_of_assignment(found[1], line, column)
    if _NO_OPERAND.match(message) and line:
        operand = _OPERAND.search(marks.line(line))
        value = _shown(operand[1]) if operand else ""
        hint = "; a failed request has error.kind" if value.endswith("http.Error") else ""
        return (f"{message}: {value} is none{hint}" if value else message), None
    possible = _meant(message, marks, line, column)
    if not possible:
        return message, None
    # A call has the place of the last one among its arguments.
    meant = [each for each in possible if not _FUNCTIONS.match(each.value)] or possible
    at = min(meant, key=lambda each: each.first) if message == NO_FUNCTION else meant[0]
    place = marks.place_of(at)
    if len(possible) > 1 and message == NO_FUNCTION:
        return _one_of(message, meant), place
    if len(meant) == 1:
        is_near = line == place[0] and marks.place(at.first) <= (line, column)
        return _told(message, at), None if is_near else place
    if at.pattern and all(at.first <= each.first <= at.last for each in meant):
        # Of a pattern within another it may be a part.
        return _taken_apart(message, at), place
    lines = {marks.place_of(each)[0] for each in meant}
    return message, None if len(lines) > 1 or line in lines else place


def _meant(message: str, marks: Marks, line: int | None, column: int) -> list[Operation]:
    """Return the operations that the engine may mean."""
    if message == NO_CLASS_CALL:
        return marks.at(CALL, line, column)
    if message == NO_FUNCTION:
        loops = [each for each in marks.at(ITERATE, line, column) if each.is_await]
        return marks.at(CALL, line, column) + loops
    if message == _NO_OBJECT:
        opened = marks.at(OPEN, line, column)
        return [each for each in opened if not _ALWAYS_THERE.match(each.value)]
    if message == _NOT_ITERABLE:
        return marks.at(ITERATE, line, column)
    if not (read := _PROPERTY.search(message)):
        return []
    if read[2] in ("Symbol.iterator", "Symbol.asyncIterator"):
        return marks.at(ITERATE, line, column)
    kind = READ if read[1] == "read" else WRITE
    named = marks.at(kind, line, column, read[2])
    return named or marks.at(kind, line, column, COMPUTED)


def _told(message: str, at: Operation) -> str:
    """Return the message with the value of the operation."""
    value = _shown(at.value)
    if message == NO_CLASS_CALL:
        return f"{message}: {value} is a class" if value else message
    if at.kind == CALL:
        value = value or _shown(at.name)
        return f"TypeError: {value} is not a function" if value else message
    if at.is_await and message == NO_FUNCTION:
        return f"TypeError: {value or 'value'} is not async iterable"
    if not value:
        return _taken_apart(message, at) if at.pattern else message
    if message == _NOT_ITERABLE:
        return f"TypeError: {value} is not iterable"
    missing = message.rpartition(" of ")[2] if " of " in message else "undefined or null"
    return f"{message}: {value} is {missing}"


def _one_of(message: str, meant: list[Operation]) -> str:
    """Return the message with all values that it may be about, where each has a name."""
    values = list(dict.fromkeys(_shown(each.value) or _shown(each.name) for each in meant))
    if "" in values or len(values) > _MAX_NAMED:
        return message
    if len(values) == 1:
        return f"TypeError: {values[0]} is not a function"
    return f"{message}: {', '.join(values[:-1])} or {values[-1]}"


def _taken_apart(message: str, at: Operation) -> str:
    return f"{message}: it is taken apart in {' '.join(at.pattern.split())[:_MAX_SHOWN]}"


def _given_to(message: str, marks: Marks, line: int | None, native: str) -> str:
    """Return the message with the value that was given to a function of the engine."""
    if message == NO_FUNCTION:
        return f"TypeError: what was given to {native}() is not a function"
    code = marks.line(line) if line else ""
    given = re.search(rf"\b{re.escape(native)}\s*\(\s*({_CHAIN})\s*[,)]", code)
    if given and message == _NO_OBJECT and _shown(given[1]):
        return f"{message}: {given[1]} is undefined or null"
    if given and message == _NOT_ITERABLE:
        return f"TypeError: {given[1]}, which was given to {native}(), is not iterable"
    return message


def _shown(expression: str) -> str:
    expression = expression.strip()
    is_name = re.match(r"(?!(?:null|undefined|TypeError)$)[^\W\d]|\$", expression) is not None
    return expression if is_name and len(expression) <= _MAX_SHOWN else ""

"""Says more about errors of JavaScript than its engine does: hints, and which value it was."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CALLS = "use http.get(url) and its like, and await them"
_TIMES = "there are no timers; retry(seconds) has the message delivered again later"
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

_PROPERTY = re.compile(r"cannot (read|set) property '([^']+)' of (undefined|null)$")
_FUNCTION = re.compile(r"(?:async\s*)?(?:function\b|[\w$]+\s*=>|\([^()]*\)\s*=>)")
_MAX_SHOWN = 80
_NO_OBJECT = "TypeError: Cannot convert undefined or null to object"
# Names, one of the other, with calls of one level.
_CHAIN = (
    r"(?!(?:const|let|var|new|await)\b)[A-Za-z_$][\w$]*(?:\??\.[\w$]+|\[[^\[\]\n]*\]|\([^()\n]*\))*"
)
# What takes a value apart: an assignment up to the value, a parameter or a loop.
_PATTERN = re.compile(
    r"(?P<pattern>\{[^{}=;]*(?:\{[^{}]*\}[^{}=;]*)*\}|\[[^\[\]=;]*\])\s*=(?![=>])\s*(?:await\s+)?"
    r"|\([^(){}\[\]]*[{\[][^()]*\)\s*(?:=>|\{)|\bfor\s*\(\s*(?:const|let|var)\s*[{\[][^()]*?\sof\b"
)

# The head of a loop before its value.
_LOOP = re.compile(r"\bfor\s*\(\s*(?:const|let|var)\s*[{\[][^()]*?\sof\s*$")


def syntax_hint(line: str, *, is_library: bool) -> str:
    """Return what helps with a line that does not compile, "" where that is not known."""
    if _MODULES.search(line):
        return f"a script is no module; {LIBRARIES}"
    if is_library and _RETURN.search(line):
        return "a library is no function: wrap it in one, as in var X = X || (function () {…})"
    if _TYPES.search(line):
        return "this looks like TypeScript; a script is JavaScript, without types"
    return ""


def is_never_there(message: str) -> bool:
    """Whether an error is about a name that scripts do not have, however often they run."""
    if message.startswith(NO_MODULE):
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


def more_about(message: str, line: str, column: int, native: str) -> str:
    """Return the message of an error with the value that it is about, or with a hint.

    It was thrown at this column of the line, in the function of the engine that `native` names.
    """
    if missing := _UNDEFINED.match(message):
        hint = MISSING.get(missing[1])
        return f"{message}: {hint}" if hint else message
    if message == "TypeError: not a function":
        if native:
            return f"TypeError: what was given to {native}() is not a function"
        found = _callee_around(line, column) or _callee(line, column)
        return f"TypeError: {found} is not a function" if found else message
    if (read := _PROPERTY.search(message)) and (
        found := _value_at(line, column)
        if read[2] == "Symbol.iterator"
        else _owner(line, column, read[2])
    ):
        return f"{message}: {found} is {read[3]}"
    if native and (given := re.search(rf"\b{re.escape(native)}\s*\(\s*({_CHAIN})\s*[,)]", line)):
        if message.startswith(_NO_OBJECT) and _shown(given[1]):
            return f"{message}: {given[1]} is undefined or null"
        if message == "TypeError: value is not iterable":
            return f"TypeError: {given[1]}, which was given to {native}(), is not iterable"
    if message.startswith("TypeError: invalid '") and (found := _value_at(line, column)):
        return f"{message}: {found} is none"
    return message


def taken_apart(
    message: str, lines: Sequence[str], line: int, column: int
) -> tuple[str, tuple[int, int]] | None:
    """Return the message and the place of a value that is taken apart and is not there.

    The engine knows the place before, or none: the next pattern is meant.
    """
    is_array = message.startswith("TypeError: cannot read property 'Symbol.iterator' of ")
    if not is_array and not message.startswith(_NO_OBJECT):
        return None
    if is_array and _value_at(lines[line - 1] if line <= len(lines) else "", column):
        return None
    code = "\n".join(lines)
    start = sum(len(each) + 1 for each in lines[: line - 1]) + column - 1
    if loop := _LOOP.search(code[start - column + 1 : start]):
        start += loop.start() - column + 1
    found = _PATTERN.search(code, start)
    if found is None:
        return None
    shown = " ".join((found["pattern"] or found[0].rstrip("=>{ ")).split())[:_MAX_SHOWN]
    said = f"{message}: it is taken apart in {shown}"
    if found["pattern"] and not re.search(r"[{[]", found["pattern"][1:]):
        # Of a pattern within another it may be a part.
        value = re.match(rf"({_CHAIN})\s*(?:[;,)}}\n]|$)", code[found.end() :])
        if value and (named := _shown(value[1])):
            missing = message.rpartition(" of ")[2] if is_array else "undefined or null"
            said = f"{message}: {named} is {missing}"
    before = code[: found.start()]
    return said, (before.count("\n") + 1, found.start() - before.rfind("\n"))


def _value_at(line: str, column: int) -> str:
    """Return the expression of names that begins at the column."""
    found = re.match(rf"({_CHAIN})\s*[\])}},;]|({_CHAIN})\s*$", line[column - 1 :])
    return _shown(found[1] or found[2]) if found else ""


def _callee(line: str, column: int) -> str:
    """Return the expression that was called; the column is that of its last name."""
    if line[column - 1 : column] == "`":
        # That of a template: the name stands before it.
        name = re.search(r"[\w$]+\s*$", line[: column - 1])
        column = name.start() + 1 if name else column
    start = end = _before_bracket(line, column - 1)
    while match := re.search(r"(?:[\w$]+|\)|\])?\??\.$|[\w$]+$", line[:start]):
        if not match[0] or match.start() == start:
            break
        start = match.start()
        if line[start] in ")]":
            start = _opening(line, start)
    while match := re.compile(r"[\w$]+|\??\.(?=[\w$])").match(line, end):
        end = match.end()
    while line[end : end + 1] == "[":
        closing = line.find("]", end)
        if closing < 0:
            break
        end = closing + 1
    is_called = re.match(r"[\s)]*(?:\?\.)?[(`]", line[end:])
    if not is_called:
        return ""
    last = re.search(r"[\w$]+$", line[start:end])
    return _shown(line[start:end]) or _shown(last[0] if last else "")


def _callee_around(line: str, column: int) -> str:
    """Return what was called with a function, where the column is that of the function."""
    if not _FUNCTION.match(line, column - 1):
        return ""
    depth = 0
    for i in range(column - 2, -1, -1):
        depth += (line[i] in ")]}") - (line[i] in "([{")
        if depth < 0:
            name = re.search(r"[\w$]+$", line[:i])
            return _callee(line, name.start() + 1) if line[i] == "(" and name else ""
    return ""


def _before_bracket(line: str, at: int) -> int:
    """Return where the value stands in whose brackets the place is, else the place."""
    depth = 0
    for i in range(at - 1, -1, -1):
        depth += (line[i] in ")]") - (line[i] in "([")
        if depth < 0:
            name = re.search(r"[\w$]+$", line[:i])
            return name.start() if line[i] == "[" and name else at
    return at


def _opening(line: str, closing: int) -> int:
    """Return where a bracket opens that closes there, with the name before it."""
    depth, at = 0, closing
    while at >= 0:
        depth += (line[at] in ")]") - (line[at] in "([")
        if depth == 0:
            break
        at -= 1
    name = re.search(r"[\w$]*$", line[: max(at, 0)])
    return name.start() if name else max(at, 0)


def _owner(line: str, column: int, name: str) -> str:
    rest = line[column - 1 :]
    named = re.escape(name)
    chain = r"([\w$]+(?:\??\.[\w$]+|\[[^\[\]]*\])*?)"
    found = re.match(rf"{chain}(?:\??\.{named}(?![\w$])|\[['\"]{named}['\"]\])", rest)
    return _shown(found[1]) if found else ""


def _shown(expression: str) -> str:
    expression = expression.strip()
    is_name = re.match(r"(?!(?:null|undefined|TypeError)$)[^\W\d]|\$", expression) is not None
    return expression if is_name and len(expression) <= _MAX_SHOWN else ""

"""The faults of code and schemas before they run, found in a sandboxed process.

The admin refuses a script or a library with these faults. A configuration document, which may come
from elsewhere, may have faults that a script fails on only when it reaches them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from scripts.dotted_path import callable_fault
from scripts.examination.examiner import NotExamined, examiner
from scripts.host.languages.code_faults import Fault, Libraries

__all__ = [
    "MAX_CODE_BYTES",
    "Fault",
    "Libraries",
    "library_faults",
    "schema_fault",
    "script_faults",
]

MAX_CODE_BYTES = 256 * 1024


def script_faults(language: str, code: str, libraries: Libraries | None = ()) -> list[Fault]:
    """Return why the code is no script: it does not compile, uses what is not there, has no end.

    An empty list means that it can be run, not that it runs well. None: the libraries of JavaScript
    are not known. A callable's module is imported.
    """
    if language == "callable":
        return [Fault(text)] if (text := callable_fault(code)) else []
    known = None if libraries is None else list(libraries)
    return _size_faults(code) or _found("script", language, code, known)


def library_faults(language: str, code: str) -> list[Fault]:
    """Return why the code is no library.

    Of its imports only those of Python modules are checked: which other libraries it can import
    depends on the scripts that use it.
    """
    return _size_faults(code) or _found("library", language, code)


def schema_fault(schema: dict[str, Any]) -> str:
    """Return why an object is no JSON Schema that can be used, "" where it is one."""
    text = json.dumps(schema)
    if len(text) > MAX_CODE_BYTES:
        return f"It has {len(text)} bytes; at most {MAX_CODE_BYTES} are allowed."
    try:
        return str(examiner.examine("schema", text))
    except NotExamined as error:
        return str(error)


def _size_faults(code: str) -> list[Fault]:
    size = len(code.encode(errors="replace"))
    if size <= MAX_CODE_BYTES:
        return []
    return [Fault(f"The code has {size} bytes; at most {MAX_CODE_BYTES} are allowed.")]


def _found(what: str, language: str, code: str, *rest: Sequence[Any] | None) -> list[Fault]:
    try:
        return [Fault(*each) for each in examiner.examine(what, language, code, *rest)]
    except NotExamined as error:
        return [Fault(str(error))]

"""Checks the code and schemas of authors, in the place of a script.

Compiling code or a schema, and checking a value against a schema, can take any time and memory. A
script host limits both, so the web server sends such work to one: see `examiner.py`. A message is
one piece of work, and the output has the findings. Nothing of it is executed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jsonschema_rs

# As a module: it imports this package, too.
from scripts.host.languages import code_faults
from scripts.protocol.envelope import decode_exactly
from scripts.protocol.errors import ScriptError, ScriptInvalid, ScriptRaised
from scripts.protocol.schema import (
    Contract,
    SchemaInvalid,
    compile_schema,
    faults_of,
    matches,
    schema_text_fault,
)

if TYPE_CHECKING:
    from scripts.host.context import Context


class Examination:
    """The work that a message names, with its arguments."""

    timeout_seconds: float | None = None

    def __init__(self, name: str, code: str, libraries: Any = (), memory_mb: int = 0) -> None:
        pass

    def run(self, body: bytes, context: Context) -> Any:
        work = json.loads(body)["payload"]
        return _WORK[work["what"]](*work["arguments"])

    def explain(self, error: BaseException) -> ScriptError:
        return ScriptRaised(f"{type(error).__name__}: {error}")

    def forget(self) -> None:
        pass


def _script(language: str, code: str, libraries: list[Any] | None) -> list[Any]:
    return [astuple(fault) for fault in code_faults.script_faults(language, code, libraries)]


def _library(language: str, code: str) -> list[Any]:
    return [astuple(fault) for fault in code_faults.library_faults(language, code)]


def _matches(schema: str, text: str) -> dict[str, Any]:
    return _of_value(matches, schema, text)


def _faults(schema: str, text: str) -> dict[str, Any]:
    return _of_value(faults_of, schema, text)


def _of_value(find: Callable[..., Any], schema: str, text: str) -> dict[str, Any]:
    """Return the findings, or why the schema cannot be used."""
    try:
        validator = _validator(schema)
    except SchemaInvalid as error:
        return {"invalid": str(error)}
    return {"found": find(validator, decode_exactly(text.encode()))}


def _input(schema: str, message: str) -> list[dict[str, str]]:
    return Contract(schema).input_faults(message.encode())


def _output(schema: str, output: str, is_last: bool) -> dict[str, Any]:
    """Return where a script's output does not match, and the error for that."""
    try:
        contract = Contract(output_schema=schema)
        faults = contract.output_faults(output.encode(), is_last)
    except ScriptInvalid as error:
        return {"invalid": str(error)}
    refused = contract.refused_output(faults)
    return {"faults": faults, "error": str(refused), "place": refused.place} if faults else {}


@lru_cache(maxsize=16)
def _validator(schema: str) -> jsonschema_rs.Validator:
    return compile_schema(schema)


_WORK: dict[str, Callable[..., Any]] = {
    "script": _script,
    "library": _library,
    "schema": schema_text_fault,
    "matches": _matches,
    "faults": _faults,
    "input": _input,
    "output": _output,
}

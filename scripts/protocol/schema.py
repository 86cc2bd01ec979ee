"""JSON Schemas of payloads, and the places where a payload does not match.

A script host checks the messages of a script against a `Contract`. The web server checks the
payload of a start in the same way.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import jsonschema_rs

from scripts.protocol import formats
from scripts.protocol.envelope import decode_exactly, plain_text, without_middle
from scripts.protocol.errors import InputInvalid, OutputInvalid, ScriptInvalid
from scripts.protocol.schema_size import MAX_EXPANSION, SchemaSize

# The most places that are listed: a payload may be wrong in more than a reader wants.
MAX_FAULTS = 50
# Values with more parts than this are large.
MAX_PARTS = 10_000
# The message quotes the wrong value, which may be long.
_FORMAT_HINTS = {
    "date-time": "with an offset or Z, as in 2026-01-31T08:00:00Z",
    "time": "with an offset or Z, as in 08:00:00Z",
}
_MAX_DETAIL_LENGTH = 200
_MAX_PATH_LENGTH = 100
# The steps after which a pattern that looks back or ahead gives up. All others take time in
# proportion to the text.
_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000)
# A schema that a process keeps for long may have small patterns only. Some that look harmless take
# megabytes compiled, such as a character class of all letters, 200 times.
_PLAIN_PATTERNS = jsonschema_rs.RegexOptions(size_limit=128 << 10, dfa_size_limit=128 << 10)
_SMALL_PATTERNS = jsonschema_rs.FancyRegexOptions(
    backtrack_limit=10_000, size_limit=128 << 10, dfa_size_limit=128 << 10
)


class SchemaInvalid(Exception):
    """The schema cannot be used."""


def compile_schema(text: str) -> jsonschema_rs.Validator:
    """Raises SchemaInvalid, also for a reference to another document: nothing is fetched."""
    require_bounded(SchemaSize.of(text))
    return _compiled(text, _PATTERNS)


def compile_plain(text: str) -> jsonschema_rs.Validator:
    """Compile a schema whose patterns all take time in proportion to a text. Raises SchemaInvalid
    for others, too.
    """
    return _compiled(text, _PLAIN_PATTERNS)


def compile_pattern(pattern: str) -> jsonschema_rs.Validator:
    """Compile a pattern alone, a small one, which gives up early where it looks back or ahead.

    Raises SchemaInvalid.
    """
    return _compiled(json.dumps({"pattern": pattern}), _SMALL_PATTERNS)


def require_bounded(size: SchemaSize) -> None:
    """Raise SchemaInvalid where references make a schema too large to be checked."""
    if size.expansion > MAX_EXPANSION:
        raise SchemaInvalid(f"With its references followed it has more than {MAX_EXPANSION} parts.")


def _compiled(
    text: str, patterns: Any, format_options: dict[str, Any] | None = None
) -> jsonschema_rs.Validator:
    known = formats.options(text) if format_options is None else format_options
    try:
        return jsonschema_rs.validator_for(text, offline=True, pattern_options=patterns, **known)
    except jsonschema_rs.ValidationError as error:
        place = "".join(f"[{part!r}]" for part in error.instance_path)
        message = formats.explained(error.message)
        raise SchemaInvalid(f"{place}: {message}" if place else message) from error
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise SchemaInvalid(str(error)) from error


def schema_fault(schema: dict[str, Any]) -> str:
    """Return why an object is no JSON Schema that can be used, "" where it is one."""
    # As text: the conversion of an object would lose numbers beyond 64 bits.
    return schema_text_fault(json.dumps(schema))


def schema_text_fault(text: str) -> str:
    """Do what `schema_fault` does, for the JSON text of a schema.

    An unknown format is a fault here, where an author can mend it; elsewhere it is ignored.
    """
    try:
        compile_schema(text)
        _compiled(text, _PATTERNS, formats.strict_options(text))
    except SchemaInvalid as error:
        return str(error)
    return ""


def matches(validator: jsonschema_rs.Validator, value: Any) -> bool:
    """Whether a value matches; one that is nested too deep to be checked does not."""
    try:
        return validator.is_valid(value)
    except ValueError:
        return False


def faults_of(validator: jsonschema_rs.Validator, value: Any) -> list[dict[str, str]]:
    """Return where the value does not match and why; of a large one only the first place."""
    try:
        if validator.is_valid(value):
            return []
        if _is_small(value):
            errors = list(islice(validator.iter_errors(value), MAX_FAULTS))
        else:
            errors = [_first_error(validator, value)]
    except ValueError as error:
        # The part that does not match is nested too deep to be shown.
        return [{"path": "$", "detail": str(error)}]
    return [
        {
            "path": plain_text(_path(error.instance_path), _MAX_PATH_LENGTH),
            "detail": plain_text(
                without_middle(_detail(error), _MAX_DETAIL_LENGTH), _MAX_DETAIL_LENGTH
            ),
        }
        for error in errors
    ]


def _detail(error: jsonschema_rs.ValidationError) -> str:
    """Say what is wrong, also where it is the name of a member, and what a time lacks."""
    message, path = error.message, error.schema_path
    if len(path) > 1 and path[-2] == "propertyNames":
        return f"the name {message}"
    kinds = (kind for kind in _FORMAT_HINTS if message.endswith(f' is not a "{kind}"'))
    return f"{message} ({_FORMAT_HINTS[kind]})" if (kind := next(kinds, "")) else message


def _is_small(value: Any) -> bool:
    """Whether all faults can be listed quickly: listing takes more than linear work."""
    parts, seen = [value], 0
    while parts and seen <= MAX_PARTS:
        seen += 1
        part = parts.pop()
        if isinstance(part, dict | list):
            seen += len(part)
            if seen <= MAX_PARTS:
                parts += part.values() if isinstance(part, dict) else part
    return seen <= MAX_PARTS


def _first_error(validator: jsonschema_rs.Validator, value: Any) -> jsonschema_rs.ValidationError:
    try:
        validator.validate(value)
    except jsonschema_rs.ValidationError as error:
        return error
    raise AssertionError("what is not valid has an error")


class Contract:
    """The schemas of a script's input and output; "" accepts any value."""

    def __init__(self, input_schema: str = "", output_schema: str = "") -> None:
        """Raises ScriptInvalid where a schema cannot be used."""
        self._input = _validator(input_schema, "input parameters")
        self._output = _validator(output_schema, "output structure")

    def check_input(self, body: bytes) -> None:
        """Raises InputInvalid with the fields."""
        if faults := self.input_faults(body):
            text = "The payload does not match the input parameters."
            raise InputInvalid(_listed(text, faults), place=faults[0]["path"])

    def input_faults(self, body: bytes) -> list[dict[str, str]]:
        """Return where the message does not match and why."""
        if self._input is None:
            return []
        return _faults(self._input, decode_exactly(body)["payload"], "$.payload")

    def check_output(self, text: bytes, is_last: bool) -> None:
        """Raises OutputInvalid with the fields of the first branch that does not match."""
        if faults := self.output_faults(text, is_last):
            raise self.refused_output(faults)

    def refused_output(self, faults: list[dict[str, str]]) -> OutputInvalid:
        text = _listed("The output does not match the output structure.", faults)
        return OutputInvalid(text, place=faults[0]["path"] if faults else None)

    def output_faults(self, text: bytes, is_last: bool) -> list[dict[str, str]]:
        """Return where and why the first branch of the output that does not match differs."""
        if self._output is None:
            return []
        payloads = _payloads(decode_exactly(text), is_last)
        checked = (_faults(self._output, value, place) for place, value in payloads)
        return next((faults for faults in checked if faults), [])


def _validator(schema: str, what: str) -> jsonschema_rs.Validator | None:
    if not schema:
        return None
    try:
        return compile_schema(schema)
    except SchemaInvalid as error:
        raise ScriptInvalid(f"The schema of the {what} cannot be used: {error}") from None


def _payloads(output: Any, is_last: bool) -> Iterator[tuple[str, Any]]:
    """Yield the payloads that the output structure describes, each with its place in the output.

    The output of the last step may be any value; where it has no payload, it is checked as a whole.
    """
    if isinstance(output, list) and not is_last:
        for index, branch in enumerate(output):
            yield f"$[{index}].payload", branch["payload"]
    elif isinstance(output, dict) and "payload" in output:
        yield "$.payload", output["payload"]
    else:
        yield "$", output


def _faults(validator: jsonschema_rs.Validator, value: Any, place: str) -> list[dict[str, str]]:
    return [fault | {"path": place + fault["path"][1:]} for fault in faults_of(validator, value)]


def _listed(text: str, faults: list[dict[str, str]]) -> str:
    lines = [f"{fault['path']}: {fault['detail']}" for fault in faults]
    return "\n".join([text, *lines, *(["…"] if len(faults) == MAX_FAULTS else [])])


def _path(parts: Sequence[str | int]) -> str:
    return "$" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts)

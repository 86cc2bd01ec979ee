"""A body that has to match its schema in the OpenAPI document."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema_rs
import orjson

from flows.api.body import is_left_out
from flows.api.errors import Problem
from flows.api.openapi.schemas import Schema
from flows.api.options import unknown_option
from flows.message.envelope import parse_payload
from scripts.protocol.schema import faults_of


class CheckedBody:
    """Reads bodies of one schema, which is an object's."""

    def __init__(self, schema: Schema, *, may_be_empty: bool = False, around: int = 0) -> None:
        """`around`: the number of levels around a payload that comes back in the body."""
        self.validator = jsonschema_rs.validator_for(
            json.dumps(schema), validate_formats=True, offline=True
        )
        self._schema = schema
        self._may_be_empty = may_be_empty
        self._around = around

    def read(self, raw: bytes) -> dict[str, Any]:
        """Return the body. Raises Problem, which names each fault, and PayloadInvalid."""
        if self._may_be_empty and is_left_out(raw):
            return {}
        body = parse_payload(raw, "The body", self._around, comes_back=bool(self._around))
        self._require_valid(body)
        return body if self._around else dict(orjson.loads(raw))

    def _require_valid(self, body: dict[str, Any]) -> None:
        faults: list[dict[str, str]] = []
        faults += faults_of(self.validator, _known_of(self._schema, body, "$", faults))
        if faults:
            raise Problem("payload-invalid", "The request is refused.", errors=faults)


def _known_of(schema: Schema, value: Any, path: str, faults: list[dict[str, str]]) -> Any:
    """Return the value without the members that its objects cannot have, each of them a fault."""
    members = schema.get("properties")
    if not members or not isinstance(value, dict):
        return value
    if path != "$" and schema.get("additionalProperties") is not False:
        return value
    known = {}
    for name, each in value.items():
        if name in members:
            known[name] = _known_of(members[name], each, f"{path}.{name}", faults)
        else:
            fault = unknown_option(name, list(members))
            faults.append({"path": f"{path}.{name}", "detail": fault})
    return known


def filter_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return the filter of a body, which is empty where the body says `all`.

    Raises Problem where it has both, or neither.
    """
    given: dict[str, Any] | None = body.get("filter")
    if body.get("all", False):
        if given and any(given.values()):
            raise _problem_at("$.all", "all are more than the filter has: give one of them")
        return {}
    if given is None:
        raise _problem_at("$", '"filter" is missing; without one say "all": true')
    return given


def require_not_all(body: dict[str, Any], verb: str) -> None:
    """Raise Problem where the body, whose filter matches everything, does not say `all`."""
    if not (body.get("all", False) or body.get("dryRun", False)):
        raise _problem_at("$.filter", f'is empty; to {verb} all, say "all": true')


def _problem_at(path: str, detail: str) -> Problem:
    fault = {"path": path, "detail": detail}
    return Problem("payload-invalid", "The request is refused.", errors=[fault])


def date_time(given: dict[str, str], name: str) -> datetime | None:
    """Return a time of a filter in a body. Raises Problem."""
    if name not in given:
        return None
    try:
        time = datetime.fromisoformat(given[name].upper())
        time.astimezone(UTC)
        return time
    except (ValueError, OverflowError) as error:
        # RFC 3339 has leap seconds and, by the offset, times outside of the years 1 to 9999;
        # Python has neither.
        raise _problem_at(f"$.filter.{name}", str(error)) from error

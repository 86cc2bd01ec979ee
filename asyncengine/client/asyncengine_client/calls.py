"""The operations of the API as requests, without a connection: both clients send these."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from asyncengine_client.traces import trace_headers

API = "/async/api"
# The longest that the engine holds a call.
LONGEST_WAIT = 60.0
NDJSON = {"Content-Type": "application/x-ndjson"}


@dataclass(frozen=True, slots=True)
class Call:
    """A request; `is_safe` if it may be sent twice."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    is_safe: bool = True
    # How long the engine may hold the answer, in seconds.
    held: float = 0.0

    def content(self) -> bytes | None:
        if self.body is None:
            return None
        return json.dumps(self.body, ensure_ascii=False, allow_nan=False).encode()


def start(
    flow: str,
    payload: Mapping[str, Any],
    *,
    key: str | None,
    wait: float = 0.0,
    **options: Any,
) -> Call:
    params = start_parameters(flow, **options)
    if wait:
        params["wait"] = seconds(min(wait, LONGEST_WAIT))
    headers = {"Idempotency-Key": key or str(uuid.uuid4()), **trace_headers()}
    return Call("POST", f"{API}/start", params, payload, headers, held=wait)


def start_parameters(
    flow: str,
    *,
    labels: Mapping[str, str] | None = None,
    priority: int | None = None,
    start_at: datetime | str | None = None,
    deadline: datetime | float | str | None = None,
    callback_url: str | None = None,
) -> dict[str, Any]:
    return without_none(
        flowName=flow,
        label=[f"{name}:{value}" for name, value in (labels or {}).items()] or None,
        priority=priority,
        startAt=moment(start_at),
        deadline=seconds(deadline) if isinstance(deadline, int | float) else moment(deadline),
        callbackUrl=callback_url,
    )


def run(correlation_id: str, wait: float = 0.0) -> Call:
    params = {"wait": seconds(min(wait, LONGEST_WAIT))} if wait > 0 else {}
    return Call("GET", f"{API}/runs/{part(correlation_id)}", params, held=wait)


def runs(
    *,
    flow: str | None = None,
    status: str | Iterable[str] | None = None,
    labels: Mapping[str, str] | None = None,
    started_by: str | None = None,
    created_after: datetime | str | None = None,
    created_before: datetime | str | None = None,
    finished_after: datetime | str | None = None,
    finished_before: datetime | str | None = None,
    idempotency_key: str | None = None,
) -> dict[str, Any]:
    """Return the filters of listRuns and countRuns."""
    return without_none(
        flowName=flow,
        status=[status] if isinstance(status, str) else status and list(status),
        label=[f"{name}:{value}" for name, value in (labels or {}).items()] or None,
        startedBy=started_by,
        createdAfter=moment(created_after),
        createdBefore=moment(created_before),
        finishedAfter=moment(finished_after),
        finishedBefore=moment(finished_before),
        idempotencyKey=idempotency_key,
    )


def run_again(correlation_id: str, payload: Any = None, from_step: str | None = None) -> Call:
    body = without_none(payload=payload, fromStep=from_step)
    # Sent twice it would be two runs.
    return Call("POST", f"{API}/runs/{part(correlation_id)}/again", body=body, is_safe=False)


def act(kind: str, name: str | int, verb: str, **body: Any) -> Call:
    """Return what changes a thing and changes nothing the second time."""
    return Call("POST", f"{API}/{kind}/{part(str(name))}/{verb}", body=without_none(**body) or None)


def reprocess(letter: int, **body: Any) -> Call:
    path = f"{API}/dead-letters/{letter}/reprocess"
    return Call("POST", path, body=without_none(**body) or None, is_safe=False)


def page(kind: str, filters: Mapping[str, Any], cursor: str | None) -> Call:
    return Call("GET", f"{API}/{kind}", without_none(**filters, cursor=cursor))


def one(kind: str, name: str | int, rest: str = "", **params: Any) -> Call:
    return Call("GET", f"{API}/{kind}/{part(str(name))}{rest}", without_none(**params))


def part(text: str) -> str:
    """Return a text as one part of a path."""
    return quote(text, safe="")


def moment(at: datetime | str | None) -> str | None:
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError(f"The time {at.isoformat()} has no time zone.")
        return at.isoformat()
    return at


def seconds(number: float) -> str:
    return f"{number:g}"


def without_none(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def batch_parameters(
    flow: str, key_field: str | None, wait: float, **options: Any
) -> dict[str, Any]:
    own = without_none(keyField=key_field, wait=seconds(wait) if wait else None)
    return start_parameters(flow, **options) | own


def letters(
    *,
    flow: str | None = None,
    queue: str | None = None,
    reason: str | None = None,
    code: str | None = None,
    correlation_id: str | None = None,
) -> dict[str, Any]:
    """Return the filters of listDeadLetters."""
    return without_none(
        flowName=flow, queue=queue, reason=reason, code=code, correlationId=correlation_id
    )


def of_httpx(call: Call, timeout: httpx.Timeout) -> dict[str, Any]:
    """Return the arguments of a request."""
    content = call.content()
    headers = dict(call.headers)
    if content is not None:
        headers["Content-Type"] = "application/json"
    if call.held and timeout.read is not None:
        read = timeout.read + min(call.held, LONGEST_WAIT)
        timeout = httpx.Timeout(timeout.connect, read=read, write=timeout.write)
    return {
        "method": call.method,
        "url": call.path,
        "params": dict(call.params),
        "content": content,
        "headers": headers,
        "timeout": timeout,
    }

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

# A JSON object; bytes are its text, which goes digit for digit.
Payload = Mapping[str, Any] | bytes

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
        return None if self.body is None else text_of(self.body)


def text_of(value: Any) -> bytes:
    """Return JSON; bytes are JSON already."""
    if isinstance(value, bytes):
        return value
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def with_payload(payload: Any, **others: Any) -> bytes | None:
    """Return the body of a call that has a payload in it; None where it is empty."""
    given = {
        name: text_of(value) for name, value in without_none(payload=payload, **others).items()
    }
    members = [text_of(name) + b":" + value for name, value in given.items()]
    return b"{" + b",".join(members) + b"}" if members else None


def start(
    flow: str,
    payload: Payload,
    *,
    key: str | None,
    wait: float = 0.0,
    **options: Any,
) -> Call:
    params = start_parameters(flow, **options) | waiting(wait)
    return Call("POST", f"{API}/start", params, payload, key_of(key) | trace_headers(), held=wait)


def label_texts(labels: Mapping[str, str] | None) -> list[str] | None:
    """Return labels as parameters. Raises ValueError for a key that would be read otherwise."""
    for name in labels or {}:
        if ":" in name:
            raise ValueError(f"The key of the label {name!r} has a colon.")
    return [f"{name}:{value}" for name, value in (labels or {}).items()] or None


def key_of(key: str | None) -> dict[str, str]:
    """Return the header with the key, which is drawn where none is given. Raises ValueError."""
    if key is not None and not (key.isascii() and key.isprintable() and key):
        raise ValueError(f"The idempotency key {key!r} is empty or has characters beyond ASCII.")
    return {"Idempotency-Key": str(uuid.uuid4()) if key is None else key}


def waiting(wait: float) -> dict[str, str]:
    return {"wait": seconds(min(wait, LONGEST_WAIT))} if wait > 0 else {}


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
        label=label_texts(labels),
        priority=priority,
        startAt=moment(start_at),
        deadline=seconds(deadline) if isinstance(deadline, int | float) else moment(deadline),
        callbackUrl=callback_url,
    )


def run(correlation_id: str, wait: float = 0.0) -> Call:
    return Call("GET", f"{API}/runs/{part(correlation_id)}", waiting(wait), held=wait)


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
        label=label_texts(labels),
        startedBy=started_by,
        createdAfter=moment(created_after),
        createdBefore=moment(created_before),
        finishedAfter=moment(finished_after),
        finishedBefore=moment(finished_before),
        idempotencyKey=idempotency_key,
    )


def run_again(
    correlation_id: str,
    *,
    payload: Any = None,
    from_step: str | None = None,
    key: str | None = None,
    reason: str | None = None,
    wait: float = 0.0,
) -> Call:
    path = f"{API}/runs/{part(correlation_id)}/again"
    body = with_payload(payload, fromStep=from_step, reason=reason)
    return Call("POST", path, waiting(wait), body, key_of(key), held=wait)


def cancel_runs(filter: Mapping[str, Any] | None, **options: Any) -> Call:
    return Call("POST", f"{API}/runs/cancel", body=without_none(filter=filter, **options))


def reprocess_many(filter: Mapping[str, Any] | None, **options: Any) -> Call:
    body = without_none(filter=filter, **options)
    # Sent twice it would be two reprocessings.
    return Call("POST", f"{API}/dead-letters/reprocess", body=body, is_safe=False)


def act(kind: str, name: str | int, verb: str, **body: Any) -> Call:
    """Return what changes a thing and changes nothing the second time."""
    return Call("POST", f"{API}/{kind}/{part(str(name))}/{verb}", body=without_none(**body) or None)


def reprocess(
    letter: int,
    *,
    payload: Any = None,
    newest_script: bool | None = None,
    reason: str | None = None,
    wait: float = 0.0,
) -> Call:
    path = f"{API}/dead-letters/{letter}/reprocess"
    body = with_payload(payload, newestScript=newest_script, reason=reason)
    return Call("POST", path, waiting(wait), body, is_safe=False, held=wait)


def discard(letter: int) -> Call:
    # Sent twice it would not be found.
    return Call("DELETE", f"{API}/dead-letters/{letter}", is_safe=False)


def page(
    kind: str, filters: Mapping[str, Any], cursor: str | None, size: int | None = None
) -> Call:
    params = without_none(**filters, cursor=cursor, pageSize=size)
    return Call("GET", f"{API}/{kind}", params)


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
    """Return all digits of a number, without a point where it is whole."""
    return str(int(number) if float(number).is_integer() else float(number))


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

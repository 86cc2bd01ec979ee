"""What the tests of the JavaScript engine share: a script and its replies."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from scripts.host.context import Context
from scripts.host.languages.javascript import JavaScriptScript
from scripts.host.log import CallLog
from scripts.protocol.errors import (
    ScriptError,
    ScriptInvalid,
    ScriptRaised,
)

CORRELATION_ID = "0190a1b2-0000-7000-8000-000000000001"
Libraries = Sequence[tuple[str, str]]


class Replies:
    """Answers requests in the order in which they are given, and remembers what was asked."""

    secret_names: tuple[str, ...] = ()

    def __init__(self, *replies: tuple[int, dict[str, Any]]) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._replies: Iterator[tuple[int, dict[str, Any]]] = iter(replies)

    def send_request(self, call: int, service: str, request: dict[str, Any]) -> int:
        self.asked.append((service, request))
        return len(self.asked)

    def read_reply(self, call: int, number: int | None = None) -> tuple[int, dict[str, Any]]:
        return next(self._replies)


def run(
    code: str,
    payload: Any = None,
    *,
    body: bytes | None = None,
    libraries: Libraries = (),
    replies: Replies | None = None,
    logs: list[dict[str, Any]] | None = None,
    memory_mb: int = 64,
) -> Any:
    """Run a script on one message; its output, or raise what the host would report."""
    script = JavaScriptScript("pricing", code, libraries, memory_mb)
    return run_once(script, payload, body=body, replies=replies, logs=logs)


def run_once(
    script: JavaScriptScript,
    payload: Any = None,
    *,
    body: bytes | None = None,
    replies: Replies | None = None,
    logs: list[dict[str, Any]] | None = None,
) -> Any:
    envelope = {"correlationId": CORRELATION_ID, "payload": payload}
    log = CallLog()
    context = Context(
        CORRELATION_ID,
        "orders",
        "price",
        "to-price",
        2,
        "d-7",
        log,
        replies or Replies(),
        1,
        lambda call, progress: None,
    )
    try:
        return script.run(body or json.dumps(envelope).encode(), context)
    except (ScriptError, MemoryError):
        raise
    except Exception as error:
        raise script.explain(error) from None
    finally:
        script.forget()
        if logs is not None:
            logs += log.lines()


def refused(code: str, **options: Any) -> ScriptInvalid:
    """Return the error of a wrong call, or of a name that is not there."""
    with pytest.raises(ScriptInvalid) as caught:
        run(code, **options)
    return caught.value


def raised(code: str, **options: Any) -> ScriptRaised | ScriptInvalid:
    """Return the error that it ended with, whether a repetition may heal it or not."""
    with pytest.raises(ScriptError) as caught:
        run(code, **options)
    assert isinstance(caught.value, ScriptRaised | ScriptInvalid)
    return caught.value

"""Services of the worker: what a running script can ask for, by the name of the service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import orjson

from scripts.protocol.calls import Call, CallSite, Program

# A request is answered until this time, by the monotonic clock, or not at all.
Deadline = float
Service = Callable[[Program, dict[str, Any], Deadline], dict[str, Any]]


class CallService(Protocol):
    """A service that asks which call it serves. `starts`: what this run of the call has started."""

    def serve_call(
        self,
        site: CallSite,
        call: Call,
        starts: dict[int, Any],
        request: dict[str, Any],
        deadline: Deadline,
    ) -> dict[str, Any]: ...


# The service whose replies are secrets, as {value}.
SECRET_SERVICE = "secret"  # noqa: S105 - the name of it

# The service that makes and verifies signatures.
SIGN_SERVICE = "sign"

# The service that keeps values for the hosts of a script: {what: "get", key} to {text} or {}, and
# {what: "put", key, seconds, text} to {}.
CACHE_SERVICE = "cache"
MAX_CACHED_LENGTH = 64 * 1024

# The service that reads the state of the call's flow, whose id the worker adds as `flow`: {key} to
# {version, text, pending}. Without a value the version is 0 and there is no text. It is pending
# where the step that leaves it is not stored yet.
STATE_SERVICE = "state"

# The service whose reply has the values of the installation, as {values}.
CONFIG_SERVICE = "config"

# The service that starts runs of other flows, with the output of the call: {flow, payload, key,
# priority, startAt, ordinal} to {id}. It is given the call.
START_SERVICE = "start"


# Not requested: `given(program)` has the tables that a host of the program gets.
TABLE_SERVICE = "table"


# The kind of a request for what no key of this machine decrypts. Its message waits for the key.
UNREADABLE = "payload-unreadable"


class RequestFailed(Exception):
    """A request was refused or failed. `kind` is one word that programs can compare."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind

    def reply(self) -> bytes:
        return orjson.dumps({"error": str(self), "kind": self.kind})

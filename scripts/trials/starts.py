"""Starts of other flows in a trial: they are shown, and nothing is stored."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

from scripts.protocol.calls import Call, CallSite, Program
from scripts.protocol.services import Deadline, RequestFailed
from scripts.protocol.starts import MAX_STARTS, REFUSED, start_not_allowed

_OPTIONS = ("key", "priority", "startAt", "labels", "deadline")


class TrialStarts:
    """The service `start` of a trial. Of a script alone, outside of a flow, any flow is started."""

    def __init__(self) -> None:
        # A script may ask for several starts at once, and as many threads serve them.
        self._lock = threading.Lock()

    def __call__(
        self, program: Program, request: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        raise RequestFailed("A start belongs to a call.", REFUSED)

    def serve_call(
        self,
        site: CallSite,
        call: Call,
        starts: dict[int, Any],
        request: dict[str, Any],
        deadline: Deadline,
    ) -> dict[str, Any]:
        with self._lock:
            return {"id": _noted(site, starts, request)}


def _noted(site: CallSite, starts: dict[int, Any], request: dict[str, Any]) -> str:
    """Add a start to those of its call; return its id, or that of the one with the same key."""
    flow = request.get("flow")
    if not isinstance(flow, str) or (site.starts is not None and flow not in site.starts):
        raise RequestFailed(start_not_allowed(flow, site.starts or ()), REFUSED)
    asked = {
        "flow": flow,
        "payload": str(request.get("payload")),
        "options": {name: request[name] for name in _OPTIONS if request.get(name) is not None},
        "id": str(uuid4()),
    }
    if (key := request.get("key")) is not None:
        for other in starts.values():
            if (other["flow"], other["options"].get("key")) != (flow, key):
                continue
            if other["payload"] != asked["payload"]:
                told = "a start with the same key has another payload."
                raise RequestFailed(f"context.start({flow!r}): {told}", REFUSED)
            return str(other["id"])
    if len(starts) >= MAX_STARTS:
        raise RequestFailed(f"A message starts at most {MAX_STARTS} runs.", REFUSED)
    starts[request["ordinal"]] = asked
    return str(asked["id"])

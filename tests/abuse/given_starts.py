"""The service `start` of these tests: it tells which call it was asked by, and stores nothing."""

from __future__ import annotations

from typing import Any

from scripts.protocol.calls import Call, CallSite, Program
from scripts.protocol.services import RequestFailed
from scripts.protocol.starts import REFUSED, start_not_allowed


class GivenStarts:
    def __call__(self, program: Program, request: dict[str, Any], deadline: float) -> Any:
        raise AssertionError("a start without its call")

    def serve_call(
        self,
        site: CallSite,
        call: Call,
        starts: dict[int, Any],
        request: dict[str, Any],
        deadline: float,
    ) -> dict[str, Any]:
        ordinal: Any = request.get("ordinal")
        flow = request.get("flow")
        if flow not in (site.starts or ()):
            raise RequestFailed(start_not_allowed(flow, site.starts or ()), REFUSED)
        if ordinal in starts:
            raise RequestFailed("The number of a start is there already.", REFUSED)
        starts[ordinal] = request
        told = (site.flow, site.step, call.correlation_id, call.delivery_id, flow)
        return {"id": " ".join(map(str, told))}

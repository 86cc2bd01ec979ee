"""Which events a stream has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flows.access.rights import Sight


@dataclass(frozen=True, slots=True)
class Selection:
    """The events of one run, or those that a caller may see, of one flow or of all."""

    sight: Sight
    run_id: UUID | None = None
    flow_id: int | None = None

    def has_flow(self, flow_id: int | None) -> bool:
        """Say whether events of runs of this flow may be among them."""
        if self.flow_id is not None and flow_id != self.flow_id:
            return False
        return self.sight.reaches(flow_id)

    def has(self, flow_id: int | None, started_by: Any) -> bool:
        """Say whether events of this run of the flow are among them, `started_by` its starter."""
        return self.has_flow(flow_id) and self.sight.covers(flow_id, started_by)

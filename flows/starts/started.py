"""The answer to a start."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Started:
    """The answer to a start; `repeated` if the idempotency key named a run that exists."""

    correlation_id: UUID
    flow_name: str
    repeated: bool = False

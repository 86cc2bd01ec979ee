"""The answer to a start."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from flows.store import StartRate


@dataclass(frozen=True, slots=True)
class Started:
    """The answer to a start; `repeated` if the idempotency key named a run that exists.

    `rates`: those that a start by this caller counts in, where the caller is one of the API.
    """

    correlation_id: UUID
    flow_name: str
    repeated: bool = False
    rates: tuple[StartRate, ...] = ()

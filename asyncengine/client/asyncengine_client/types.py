"""The JSON of the API. A newer engine may answer more members than these."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

RunStatus = Literal["QUEUED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
ENDED: frozenset[str] = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


class Started(TypedDict):
    """A run that was started."""

    correlationId: str
    flowName: str
    status: RunStatus
    statusUrl: str
    # Of one that was started again: the run that it repeats.
    repeats: NotRequired[str]


class RunSummary(TypedDict):
    """A run without its steps; times are RFC 3339."""

    correlationId: str
    flowName: str
    flowVersion: int
    status: RunStatus
    currentStep: str | None
    createdAt: str
    startedAt: str | None
    finishedAt: str | None
    labels: dict[str, str]
    deadline: str | None
    error: str | None
    errorCode: str | None
    causeCode: str | None
    warnings: int
    # When its payloads were erased.
    erasedAt: str | None
    startedBy: str | None
    repeats: str | None
    parentCorrelationId: str | None


class Run(RunSummary):
    """A run with its result and its steps."""

    result: Any
    waitingBecause: str | None
    waitingCode: str | None
    deadLetterIds: list[int]
    steps: list[dict[str, Any]]


class Rejected(TypedDict):
    """A line of a batch that was not taken; `line` counts from 1."""

    line: int
    type: str
    detail: str


class BatchStarted(TypedDict):
    """What became of a batch; the lists hold the first 1,000."""

    accepted: int
    rejectedCount: int
    rejected: list[Rejected]
    correlationIds: list[str]


class DeadLetter(TypedDict):
    """A message that was given up."""

    id: int
    correlationId: str
    queueName: str
    flowName: str
    stepName: str
    error: str
    payload: Any
    deliveries: int
    deadAt: str
    reason: str
    causeCode: str | None
    code: str | None
    details: Any
    reprocessedAt: str | None


class Reprocessed(TypedDict):
    """The run that goes on with a dead letter."""

    correlationId: str
    flowName: str
    status: RunStatus
    statusUrl: str


class Flow(TypedDict):
    """A flow that the caller may see, with the caller's rights to it."""

    name: str
    description: str
    active: bool
    paused: bool
    version: int | None
    steps: list[dict[str, Any]]
    inputSchema: Any
    startUrl: str
    rights: list[str]


class Queue(TypedDict):
    """A queue as it stands."""

    name: str
    size: int
    depth: int
    running: int
    delayed: int
    deadLetters: int
    oldestAgeSeconds: float | None
    paused: bool
    ratePerSecond: float | None
    cluster: str | None
    waitingBecause: str | None
    waitingCode: str | None


class Event(TypedDict):
    """What happened in a run: `data` is its JSON, and behind `id` another stream goes on."""

    event: str
    id: str
    data: dict[str, Any]

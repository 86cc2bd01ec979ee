"""Calls an Async Engine by HTTP.

    from asyncengine_client import Client

    with Client("https://engine.example", token="...") as engine:
        run = engine.start_and_wait("loan", {"amount": 500})

`AsyncClient` has the same methods for asyncio. What they return is the JSON of the API, typed.
"""

from asyncengine_client.aio import AsyncClient
from asyncengine_client.client import Client
from asyncengine_client.errors import (
    ApiError,
    BatchInterrupted,
    ClientError,
    NoConnection,
    NotFound,
    QueueFull,
    Refused,
    RunNotEnded,
    TooManyCalls,
    Unavailable,
)
from asyncengine_client.types import (
    BatchStarted,
    DeadLetter,
    Event,
    Flow,
    Queue,
    Reprocessed,
    Run,
    RunSummary,
    Started,
)

__all__ = [
    "ApiError",
    "AsyncClient",
    "BatchInterrupted",
    "BatchStarted",
    "Client",
    "ClientError",
    "DeadLetter",
    "Event",
    "Flow",
    "NoConnection",
    "NotFound",
    "Queue",
    "QueueFull",
    "Refused",
    "Reprocessed",
    "Run",
    "RunNotEnded",
    "RunSummary",
    "Started",
    "TooManyCalls",
    "Unavailable",
]

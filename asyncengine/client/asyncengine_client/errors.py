"""What can go wrong with a call."""

from __future__ import annotations

from typing import Any

import httpx


class ClientError(Exception):
    """The base of all errors here."""


class NoConnection(ClientError):
    """The engine did not answer. A start with a key may be sent again without starting twice."""


class RunNotEnded(ClientError):
    """A run has not ended in the time that a caller waits; `run` is how it stands."""

    def __init__(self, run: Any) -> None:
        super().__init__(f"The run {run['correlationId']} is {run['status']}.")
        self.run = run


class BatchInterrupted(ClientError):
    """A batch broke off; what it had before may be stored.

    With a `key_field` it can be sent again whole, and each line is taken once.
    """


class ApiError(ClientError):
    """The engine refused. `type` is the machine-readable end of the problem's type."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.problem = _problem(response)
        self.type = str(self.problem.get("type", "")).rpartition("/")[2]
        self.detail = str(self.problem.get("detail") or _place(response) or response.reason_phrase)
        self.retry_after = _seconds(response.headers.get("Retry-After"))
        super().__init__(f"{self.status} {self.type or 'no problem'}: {self.detail}")


class Refused(ApiError):
    """The request is wrong, or the caller lacks the right: the same again is refused again."""


class NotFound(Refused):
    """It is not there, or the caller may not see it."""


class TooManyCalls(ApiError):
    """Try again after `retry_after` seconds."""


class QueueFull(TooManyCalls):
    """The first queue of the flow has no room."""


class Unavailable(ApiError):
    """The engine or its database is away for the moment."""


def error_of(response: httpx.Response) -> ApiError:
    """Return the error that a response tells."""
    error = ApiError(response)
    if error.type == "queue-full":
        return QueueFull(response)
    kinds = {404: NotFound, 429: TooManyCalls}
    if response.status_code in kinds:
        return kinds[response.status_code](response)
    return Unavailable(response) if response.status_code >= 500 else Refused(response)


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        problem = response.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _place(response: httpx.Response) -> str:
    """Return where a redirect leads, which no call follows: it may lead to another server."""
    place = response.headers.get("Location")
    return f"The address of the engine is another one: see {place}" if place else ""


def json_of(response: httpx.Response) -> Any:
    """Return the JSON of an answer. Raises ClientError where it is none."""
    try:
        return response.json()
    except ValueError as error:
        raise ClientError(f"{response.url} answers no JSON: is it an engine?") from error


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() else None

"""Faults of a request that the front finds while it receives it."""

from __future__ import annotations


class RequestFault(OSError):
    """Base, with the name of its problem type. Readers of a body expect an OSError."""

    type = ""
    detail = ""
    headers: dict[str, str] = {}


class BodyIncomplete(RequestFault):
    """The body ended before its announced end."""

    type = "body-incomplete"


class BodyTooSlow(RequestFault):
    """The body came too slowly."""

    type = "body-too-slow"


class BodyTooLarge(RequestFault):
    """The body is larger than bodies may be."""

    type = "payload-too-large"

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.detail = f"The body may have at most {limit} bytes."


class TransferCodingUnknown(RequestFault):
    """The body is sent in a coding that the server does not decode."""

    type = "transfer-coding-unknown"
    detail = "A body comes with a Content-Length, or with Transfer-Encoding: chunked alone."


class Overloaded(RequestFault):
    """The server has no room for the request now."""

    type = "overloaded"
    headers = {"Retry-After": "5"}


class TooManyWaiters(RequestFault):
    """Too many callers wait for the ends of runs, in all or of one user."""

    type = "too-many-waiters"
    headers = {"Retry-After": "2"}

"""What can be wrong with the way that a request comes in."""

from __future__ import annotations


class RequestFault(OSError):
    """Base: `word` is that of the problem, an OSError is what readers of a body expect."""

    word = ""
    detail = ""
    headers: dict[str, str] = {}


class BodyIncomplete(RequestFault):
    """The body ended before its announced end."""

    word = "body-incomplete"


class BodyTooSlow(RequestFault):
    """The body came too slowly."""

    word = "body-too-slow"


class BodyTooLarge(RequestFault):
    """The body is larger than bodies may be."""

    word = "payload-too-large"

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.detail = f"The body may have at most {limit} bytes."


class Overloaded(RequestFault):
    """The server has no room for the request now."""

    word = "overloaded"
    headers = {"Retry-After": "5"}


class TooManyWaiting(RequestFault):
    """So many callers, or of one user's, wait for the ends of runs already."""

    word = "too-many-waiting"
    headers = {"Retry-After": "2"}

"""What the client makes of its arguments."""

from __future__ import annotations

import httpx
import pytest
from asyncengine_client import calls
from asyncengine_client.errors import NoConnection
from asyncengine_client.retries import Tries
from asyncengine_client.settings import Settings


@pytest.mark.parametrize(
    ("deadline", "text"),
    [(1_234_567, "1234567"), (1_234_567.25, "1234567.25"), (300.0, "300"), (1e-5, "1e-05")],
)
def test_seconds_keep_their_digits(deadline: float, text: str):
    assert calls.start_parameters("flow", deadline=deadline)["deadline"] == text


def test_more_headers_leave_the_login():
    given = Settings("http://engine", "token", None).of_httpx({"headers": {"X-Request-Id": "a"}})

    assert given["headers"]["authorization"] == "Bearer token"
    assert given["headers"]["x-request-id"] == "a"


def test_what_may_have_been_discarded_is_not_discarded_again():
    tries = Tries(calls.discard(7), 60.0)

    assert tries.after_failure(httpx.ConnectError("not sent"))
    with pytest.raises(NoConnection):
        tries.after_failure(httpx.ReadError("may have been sent"))

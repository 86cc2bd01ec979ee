"""The client's batch and what the engine asks it to wait."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from asyncengine_client.errors import ApiError, BatchInterrupted, QueueFull
from asyncengine_client.upload import IN_DOUBT, PASSES, Upload

FULL = {"type": "/async/problems/queue-full", "title": "Full.", "status": 429}
STOPPED = {"accepted": 1, "rejected": [], "correlationIds": ["a"], "nextLine": 2}
TAKEN = {"accepted": 1, "correlationIds": ["b"]}


@pytest.mark.parametrize("status", [429, 202])
@pytest.mark.parametrize(
    ("asked", "patience", "least", "most"), [(2, 60.0, 2, 2), (300, 60.0, 50, 60)]
)
def test_a_batch_waits_as_it_is_asked_and_no_longer_than_its_patience(
    status: int, asked: int, patience: float, least: float, most: float
):
    upload = Upload([{}, {}], False, patience, None)

    pause = upload.answered(response(status, asked))

    assert pause is not None
    assert least <= pause <= most


@pytest.mark.parametrize(("status", "error"), [(429, QueueFull), (202, BatchInterrupted)])
def test_a_batch_gives_up_when_its_patience_has_ended(
    monkeypatch: pytest.MonkeyPatch, status: int, error: type[Exception]
):
    upload = Upload([{}, {}], False, 0.0, None)
    upload._first = 2
    begun = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: begun + 1)

    with pytest.raises(error):
        upload.answered(response(status, 300, nextLine=1))


@pytest.mark.parametrize("has_keys", [True, False])
@pytest.mark.parametrize("cause", [*sorted(PASSES), *sorted(IN_DOUBT), "flow-not-runnable"])
def test_a_batch_goes_on_where_no_line_is_started_twice(cause: str, has_keys: bool):
    upload = Upload([{}, {}, {}], has_keys, 60.0, None)
    refused = [stopped_at(1, "payload-invalid"), stopped_at(3, cause)]
    answer = response(202, 0, rejected=refused, rejectedCount=2, nextLine=3)

    if cause in PASSES or (cause in IN_DOUBT and has_keys):
        assert upload.answered(answer) == 0
        assert list(upload.lines()) == [b"{}\n"]
    else:
        with pytest.raises(BatchInterrupted, match=f"line 3: It was {cause}"):
            upload.answered(answer)


@pytest.mark.parametrize("has_keys", [True, False])
@pytest.mark.parametrize(
    ("cause", "status"), [("overloaded", 503), ("outcome-unknown", 504), ("no-role", 403)]
)
def test_a_batch_that_is_refused_whole_is_sent_again_where_none_of_it_is_stored(
    cause: str, status: int, has_keys: bool
):
    upload = Upload([{}], has_keys, 60.0, None)
    refused = httpx.Response(status, json={"type": f"/async/problems/{cause}"})

    if cause == "overloaded" or (cause == "outcome-unknown" and has_keys):
        assert upload.answered(refused)
    else:
        with pytest.raises(ApiError):
            upload.answered(refused)


def test_the_line_where_a_batch_stopped_is_not_refused_once_it_was_taken():
    upload = Upload([{}] * 5, False, 60.0, None)
    first = [stopped_at(2, "payload-invalid"), stopped_at(4, "queue-full")]

    upload.answered(response(202, 0, rejected=first, rejectedCount=2, nextLine=4))
    last = httpx.Response(202, json=TAKEN | {"rejected": [stopped_at(2, "payload-invalid")]})

    assert upload.answered(last) is None
    assert upload.done["rejectedCount"] == 2
    assert [each["line"] for each in upload.done["rejected"]] == [2, 5]


def test_a_payload_of_bytes_is_one_line_digit_for_digit():
    upload = Upload([b'{"n": 1.10,\r\n "text": "a\\nb"}', {"n": 1}], False, 60.0, None)

    first, second = upload.lines()

    assert first == b'{"n": 1.10,\r  "text": "a\\nb"}\n'
    assert second == b'{"n": 1}\n'


@pytest.mark.parametrize("source", ["payloads.ndjson", b"payloads.ndjson"])
def test_the_name_of_a_file_is_no_list_of_payloads(source: Any):
    with pytest.raises(TypeError, match="a file is a Path"):
        Upload(source, False, 60.0, None)


def stopped_at(line: int, cause: str) -> dict[str, Any]:
    return {"line": line, "type": f"/async/problems/{cause}", "detail": f"It was {cause}."}


def response(status: int, asked: int, **more: Any) -> httpx.Response:
    body = FULL if status == 429 else STOPPED | more
    return httpx.Response(status, headers={"Retry-After": str(asked)}, json=body)

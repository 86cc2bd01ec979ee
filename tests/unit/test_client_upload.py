"""The client's batch and what the engine asks it to wait."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from asyncengine_client.errors import BatchInterrupted, QueueFull
from asyncengine_client.upload import Upload

FULL = {"type": "/async/problems/queue-full", "title": "Full.", "status": 429}
STOPPED = {"accepted": 1, "rejected": [], "correlationIds": ["a"], "nextLine": 2}


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


def response(status: int, asked: int, **more: Any) -> httpx.Response:
    body = FULL if status == 429 else STOPPED | more
    return httpx.Response(status, headers={"Retry-After": str(asked)}, json=body)

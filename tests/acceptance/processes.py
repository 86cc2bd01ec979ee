"""The processes of an installation, and runs whose web server may be killed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx
import psutil

from tests.acceptance.installation import Installation
from tests.waiting import wait_for


def is_at_work(process: psutil.Process) -> bool:
    """Whether it lives: one whose parent was killed may stay listed until init looks."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def step(name: str, script: str, queue: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "script": script, "queue": queue, **options}


def descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def found(find: Any) -> psutil.Process:
    def look() -> psutil.Process | None:
        try:
            return find()
        except (IndexError, StopIteration, psutil.Error):
            return None

    process = wait_for(look, 20, find.__name__)
    assert process is not None
    return process


def start_anyhow(installation: Installation, flow: str, payload: dict[str, Any], key: str) -> str:
    """Start a run however often the web server has to be asked."""

    def ask() -> str | None:
        try:
            answer = installation.http.post(
                "/api/start",
                params={"flowName": flow},
                json=payload,
                headers={"Idempotency-Key": key},
                timeout=5,
            )
        except httpx.TransportError:
            return None
        assert answer.status_code in (202, 503), answer.text
        return answer.json()["correlationId"] if answer.status_code == 202 else None

    run_id = wait_for(ask, 20, "an answer to a start")
    assert run_id is not None
    return run_id


def await_completion(installation: Installation, run_id: str, seconds: float) -> None:
    """Look past the web server, which may be the one that was killed."""
    # Both databases understand the id without its dashes.
    sql = f"SELECT status FROM flows_run WHERE correlation_id = '{UUID(run_id).hex}'"
    wait_for(lambda: installation.rows(sql) == [("COMPLETED",)], seconds, f"run {run_id}'s end")

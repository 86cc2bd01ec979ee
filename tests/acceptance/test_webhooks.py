"""Webhooks of a real installation: receivers that fail, are slow or go, and the death of all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.acceptance.installation import Installation, serving
from tests.loopback import Loopback
from tests.loopback import serving as receiving
from tests.waiting import PATIENCE, wait_for

# An installation of its own, which is killed.
pytestmark = pytest.mark.long

RUNS = 30
ECHO = "def run(message, context):\n    return message\n"
FAILS = "def run(message, context):\n    raise Reject('no')\n"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Loopback]:
    with receiving() as loopback:
        loopback.answers("/hook", 204)
        loopback.answers("/moved", 302, Location=loopback.url("/hook"))
        loopback.answers("/gone", 410)
        loopback.pages["/slow"] = lambda handler: handler.loopback.closing.wait(PATIENCE)
        yield loopback


def flow(name: str, code: str = "echo", **more: object) -> dict[str, object]:
    return {
        "name": name,
        "privateWebhooks": True,
        "steps": [{"script": code, "queue": name}],
    } | more


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, receiver: Loopback) -> Iterator[Installation]:
    names = ("told", "failing", "slow", "moved", "gone", "strict")
    configuration = {
        "scripts": [{"name": "echo", "code": ECHO}, {"name": "fails", "code": FAILS}],
        "queues": [{"name": name} for name in names],
        "flows": [
            flow("told", webhookUrl=receiver.url("/hook?flow")),
            flow("failing", "fails", webhookUrl=receiver.url("/hook?flow")),
            flow("slow", webhookUrl=receiver.url("/slow")),
            flow("moved", webhookUrl=receiver.url("/moved")),
            flow("gone", webhookUrl=receiver.url("/gone")),
            flow("strict", privateWebhooks=False, webhookUrl=receiver.url(host="localhost")),
        ],
    }
    with serving(tmp_path_factory.mktemp("webhooks"), configuration) as installation:
        yield installation


def deliveries(served: Installation, run: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = served.http.get(f"/api/runs/{run}/webhooks").json()["results"]
    return found


def told_of(receiver: Loopback, path: str) -> Counter[tuple[str, str]]:
    """Return how often the receiver was told of each end of a run at a path."""
    documents = [json.loads(each.body) for each in receiver.received if each.path == path]
    return Counter((each["data"]["correlationId"], each["type"]) for each in documents)


def test_receivers_do_not_hold_each_other_up_and_are_treated_as_documented(
    served: Installation, receiver: Loopback
):
    runs = {name: served.start(name, {}) for name in ("slow", "moved", "gone", "strict")}
    slow = [served.start("slow", {}) for _ in range(40)]
    runs |= {name: served.start(name, {}) for name in ("told", "failing")}

    ends = {(runs["told"], "run.completed"), (runs["failing"], "run.failed")}
    wait_for(lambda: ends <= told_of(receiver, "/hook?flow").keys(), what="both ends")

    # What is to be told comes with the end of a run.
    for run in runs.values():
        served.run(run, wait=30)

    def first(name: str) -> dict[str, object]:
        [found] = deliveries(served, runs[name])
        return found

    wait_for(lambda: all(first(name)["attempts"] for name in runs), what="an attempt of each")
    wait_for(lambda: first("gone")["status"] == "failed", what="the end of what is gone")
    wait_for(lambda: "302" in str(first("moved")["error"]), what="the refusal of a redirect")
    wait_for(lambda: "private address" in str(first("strict")["error"]), what="the refusal")
    assert first("moved")["status"] == first("strict")["status"] == "pending"
    assert first("told")["answerStatus"] == 204
    assert not any(each[0] in slow for each in told_of(receiver, "/hook?flow"))


def test_no_end_is_lost_over_the_death_of_every_process(served: Installation, receiver: Loopback):
    receiver.answers("/killed", 500)
    url = receiver.url("/killed")
    query = {"flowName": "told", "callbackUrl": url}
    runs = {
        served.http.post("/api/start", params=query, json={}).json()["correlationId"]
        for _ in range(RUNS)
    }
    wait_for(lambda: told_of(receiver, "/killed"), what="a first attempt")

    served.kill_all()
    receiver.answers("/killed", 200)
    served.up("--no-demo")

    for path in ("/killed", "/hook?flow"):
        wanted = {(run, "run.completed") for run in runs}
        wait_for(lambda: wanted <= told_of(receiver, path).keys(), 300, f"all ends at {path}")  # noqa: B023
    ids = {
        (json.loads(each.body)["data"]["correlationId"], each.headers["webhook-id"])
        for each in receiver.received
        if each.path == "/killed"
    }
    assert len(ids) == RUNS
    for run in runs:
        served.run(run, wait=30)
    wait_for(
        lambda: all(
            each["status"] == "delivered" for run in runs for each in deliveries(served, run)
        ),
        300,
        "the record of all deliveries",
    )

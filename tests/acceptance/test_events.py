"""Callers that follow runs, against a running installation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.acceptance.installation import Installation, serving
from tests.acceptance.wire import ADMIN, Wire
from tests.waiting import PATIENCE, wait_for

# An installation of its own.
pytestmark = pytest.mark.long

LOGS = "def run(message, context):\n    context.log('hello ' * 100)\n    return message\n"
# Long enough for its worker to note several times what it has said, and for the test to see it.
LONG = (
    "import time\n"
    "def run(message, context):\n"
    "    context.log('begins')\n"
    "    time.sleep(20)\n"
    "    context.log('ends')\n"
    "    return message\n"
)
FLOWS = {
    "scripts": [{"name": "logs", "code": LOGS}, {"name": "long", "code": LONG}],
    "queues": [
        *({"name": name} for name in ("first", "second", "long")),
        {"name": "parked", "paused": True},
    ],
    "flows": [
        {
            "name": "quick",
            "steps": [{"script": "logs", "queue": "first"}, {"script": "logs", "queue": "second"}],
        },
        {"name": "parked", "steps": [{"script": "logs", "queue": "parked"}]},
        {"name": "long", "steps": [{"script": "long", "queue": "long"}]},
    ],
}
OF_A_RUN = ["log", "step-finished", "log", "step-finished", "run-finished"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with serving(tmp_path_factory.mktemp("events"), FLOWS) as installation:
        yield installation


class Following(Wire):
    """A connection with a stream of events."""

    def __init__(
        self, installation: Installation, path: str, after: str = "", login: str = ADMIN
    ) -> None:
        super().__init__(installation)
        headers = [f"Last-Event-ID: {after}"] if after else []
        self.send("GET", path, "Accept: text/event-stream", *headers, login=login)
        self.status = int(self.stream.readline().split()[1])
        self.headers = b""
        while line := self.stream.readline().strip():
            self.headers += line.lower() + b"\n"
        self.text = b""
        # The last id that was received.
        self.at = after

    def block(self) -> dict[str, str] | None:
        """Return the fields of the next block, None at the end of the stream."""
        while b"\n\n" not in self.text:
            size = int(self.stream.readline(), 16)
            self.text += self.stream.read(size)
            self.stream.readline()
            if not size:
                return None
        block, _, self.text = self.text.partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in block.decode().splitlines())
        self.at = fields.get("id", self.at)
        return fields

    def events(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = []
        while len(found) < count:
            block = self.block()
            assert block is not None, "the stream has ended"
            if "event" in block:
                found.append((block["event"], json.loads(block["data"])))
        return found

    def begin(self) -> Following:
        """Wait until the stream has a place: what happens from then on is in it."""
        while not self.at:
            self.block()
        return self

    def runs_to_its_end(self) -> list[str]:
        """Return the names of all events up to the end of the stream."""
        blocks = iter(self.block, None)
        return [block["event"] for block in blocks if "event" in block]


def follow(served: Installation, **options: Any) -> Following:
    return Following(served, "/async/api/events?flowName=quick", **options)


def test_a_run_is_followed_to_its_end_by_all_who_listen(served: Installation):
    with ExitStack() as stack:
        of_all = [stack.enter_context(follow(served)).begin() for _ in range(20)]
        run = served.start("quick", {})
        of_run = stack.enter_context(Following(served, f"/async/api/runs/{run}/events"))

        assert of_run.runs_to_its_end() == OF_A_RUN
        assert f"x-correlation-id: {run}\n".encode() in of_run.headers
        for each in of_all:
            events = each.events(len(OF_A_RUN))
            assert [name for name, _ in events] == OF_A_RUN
            assert {data["correlationId"] for _, data in events} == {run}

    with Following(served, f"/async/api/runs/{run}/events", after=of_run.at) as again:
        assert again.status == 204


def test_lines_of_a_script_that_runs_are_told_while_it_runs_and_each_once(served: Installation):
    run = served.start("long", {})

    with Following(served, f"/async/api/runs/{run}/events") as stream:
        first = stream.events(1)
        place, status = stream.at, served.run(run)["status"]
        rest = stream.events(3)

    texts = [data.get("text") for _, data in first + rest]
    assert (status, texts) == ("RUNNING", ["begins", "ends", None, None])
    assert [name for name, _ in rest] == ["log", "step-finished", "run-finished"]
    # The line had no id: a caller that connects again gets it again.
    assert place == ""
    with Following(served, f"/async/api/runs/{run}/events", after=place) as again:
        assert again.events(4) == first + rest


def test_the_end_of_a_cancelled_run_is_told(served: Installation):
    run = served.start("parked", {})

    with Following(served, f"/async/api/runs/{run}/events") as stream:
        stream.block()
        served.http.post(f"/api/runs/{run}/cancel")
        [(name, data)] = stream.events(1)

    assert (name, data["status"]) == ("run-finished", "CANCELLED")


def test_a_caller_that_connects_again_and_again_misses_nothing(served: Installation):
    with follow(served) as first:
        place = first.begin().at
    runs = [served.start("quick", {"n": n}) for n in range(30)]
    found: list[tuple[str, dict[str, Any]]] = []

    while len(found) < len(runs) * len(OF_A_RUN):
        # On either of the web processes, and in the middle of an attempt.
        with follow(served, after=place) as stream:
            found += stream.events(7 if len(found) + 7 <= len(runs) * len(OF_A_RUN) else 1)
            place = stream.at

    for run in runs:
        assert [name for name, data in found if data["correlationId"] == run] == OF_A_RUN


@pytest.mark.parametrize("ahead", ["999999999-0", "0-999999999"])
def test_behind_an_id_of_another_database_a_stream_goes_on(served: Installation, ahead: str):
    with follow(served, after=ahead) as of_all:
        assert of_all.events(1) == [("missed", {"since": None})]
        run = served.start("quick", {})

        assert [name for name, _ in of_all.events(len(OF_A_RUN))] == OF_A_RUN
    with Following(served, f"/async/api/runs/{run}/events", after=ahead) as of_run:
        assert of_run.runs_to_its_end() == OF_A_RUN


def test_a_slow_reader_gets_everything_later(served: Installation):
    with follow(served) as slow:
        slow.begin()
        lines = [json.dumps({"n": n}) for n in range(3_000)]
        answer = served.http.post(
            "/api/start/batch",
            params={"flowName": "quick", "correlationIds": "all"},
            content="\n".join(lines),
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert answer.json()["accepted"] == len(lines)
        last = answer.json()["correlationIds"][-1]
        served.run(last, wait=60)
        # The server has long sent what the connection takes, and goes on with others.
        with Following(served, f"/async/api/runs/{last}/events") as other:
            assert other.runs_to_its_end() == OF_A_RUN

        of_runs: dict[str, list[str]] = {id: [] for id in answer.json()["correlationIds"]}
        while sum(map(len, of_runs.values())) < len(lines) * len(OF_A_RUN):
            [(name, data)] = slow.events(1)
            # A stream may begin with a run that has ended just before.
            if data["correlationId"] in of_runs:
                of_runs[data["correlationId"]].append(name)

    assert [each for each in of_runs.values() if each != OF_A_RUN] == []


def test_a_revoked_token_ends_its_streams(served: Installation):
    token = served.http.post("/api/auth/token").json()["accessToken"]
    run = served.start("parked", {})
    with ExitStack() as stack:
        streams = [
            stack.enter_context(Following(served, path, login=f"Bearer {token}"))
            for path in ("/async/api/events", f"/async/api/runs/{run}/events")
        ]
        for stream in streams:
            assert stream.block()

        address = f"http://127.0.0.1:{served.port}/async/api/auth/token"
        httpx.delete(address, headers={"Authorization": f"Bearer {token}"})

        for stream in streams:
            assert stream.runs_to_its_end() == []


def test_places_are_limited_for_each_user_and_are_free_again_when_callers_go(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ASYNCENGINE_MAX_WAITERS", "2")
    with serving(tmp_path_factory.mktemp("places"), FLOWS) as served:
        with ExitStack() as stack:
            # Two for each of the two web processes.
            statuses = [stack.enter_context(follow(served)).status for _ in range(5)]
        assert set(statuses) == {200, 429}
        assert 2 <= statuses.count(200) <= 4
        assert wait_for(lambda: is_admitted(served), PATIENCE, "a place")


def is_admitted(served: Installation) -> bool:
    with follow(served) as stream:
        return stream.status == 200


def test_streams_end_where_they_can_go_on_when_the_server_stops(
    tmp_path_factory: pytest.TempPathFactory,
):
    with serving(tmp_path_factory.mktemp("stop"), FLOWS) as served, ExitStack() as stack:
        streams = [stack.enter_context(follow(served)).begin() for _ in range(10)]
        served.start("quick", {})
        for stream in streams:
            stream.events(2)

        assert served.stop() == 0

        # With the last chunk, so that it is no broken connection.
        rest_of_each = [stream.runs_to_its_end() for stream in streams]
        served.up("--no-demo")
        served.start("quick", {})
        left = 2 * len(OF_A_RUN) - 2 - len(rest_of_each[0])
        with follow(served, after=streams[0].at) as again:
            names = [name for name, _ in again.events(left)]

    assert [*rest_of_each[0], *names] == [*OF_A_RUN[2:], *OF_A_RUN]

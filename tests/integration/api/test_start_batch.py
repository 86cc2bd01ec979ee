from __future__ import annotations

import json
import tracemalloc
from codecs import BOM_UTF8
from datetime import timedelta
from io import BytesIO
from threading import BoundedSemaphore
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from flows import engine
from flows.api import batch
from flows.api.batch_answer import Listing
from flows.api.errors import Problem
from flows.api.items import Item, elements, lines
from flows.errors import CommitInDoubt, QueueFull
from flows.front.turns import Turn
from flows.models import (
    Flow,
    IdempotencyKey,
    Message,
    Queue,
    QueueState,
    Right,
    RoleMapping,
    Run,
)
from flows.starts import keyed
from flows.store import store
from scripts.models import Script
from tests.integration.api.helpers import (
    assert_problem,
    basic,
    client_of,
    grant,
    make_loan_flow,
)

PATH = "/async/api/start/batch"
NDJSON = "application/x-ndjson"
SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


@pytest.fixture
def send(client, user, flow):
    grant(user, Right.START, flow)

    def post(body: Any, content_type: str = NDJSON, query: str = "flowName=loan", **more: Any):
        by = more.pop("by", client)
        return by.post(f"{PATH}?{query}", body, content_type=content_type, **more)

    return post


def numbered(count: int) -> bytes:
    return b"".join(b'{"n": %d}\n' % n for n in range(count))


def room(size: int) -> None:
    Queue.objects.filter(name="loan queue 1").update(size=size)


def payloads() -> list[Any]:
    return [json.loads(body)["payload"] for body in Message.objects.values_list("body", flat=True)]


class TestAccepted:
    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            (NDJSON, b'{"n": 1}\n{"n": 2}\n'),
            (NDJSON, b'{"n": 1}\r\n\r\n{"n": 2}'),
            ("application/jsonl", b'\n{"n": 1}\n \n{"n": 2}\n\n'),
            ("application/json", b'[{"n": 1}, {"n": 2}]'),
            ("application/json", b' [\n{"n": 1}\n,{"n": 2}\n] '),
        ],
    )
    def test_run_is_started_for_each_payload(self, send, user, content_type, body):
        response = send(body, content_type)

        assert response.status_code == 202
        document = response.json()
        ids = document.pop("correlationIds")
        assert document == {"accepted": 2, "rejectedCount": 0, "rejected": []}
        assert payloads() == [{"n": 1}, {"n": 2}]
        assert ids == [str(run.pk) for run in Run.objects.order_by("pk")]
        assert {run.started_by for run in Run.objects.all()} == {user}

    @pytest.mark.parametrize("content_type", [NDJSON, "application/json"])
    def test_payloads_travel_as_the_text_that_came(self, send, content_type):
        body = b'{"n": 123456789012345678901234567890, "x": 1.10, "y": "},]"}'

        send(b"[%s]" % body if content_type != NDJSON else body, content_type)

        assert body.decode() in Message.objects.get().body

    @pytest.mark.parametrize(
        ("content_type", "body"), [(NDJSON, b"\n"), ("application/json", b"[]")]
    )
    def test_empty_batch_starts_nothing(self, send, content_type, body):
        document = send(body, content_type).json()

        assert document == {
            "accepted": 0,
            "rejectedCount": 0,
            "rejected": [],
            "correlationIds": [],
        }

    def test_many_are_stored_in_chunks(self, send):
        with mock.patch("flows.engine.start_many", wraps=engine.start_many) as start_many:
            document = send(numbered(1200), query="flowName=loan&correlationIds=all").json()

        assert document["accepted"] == len(set(document["correlationIds"])) == 1200
        assert [len(call.args[1]) for call in start_many.call_args_list] == [500, 500, 200]

    def test_chunk_of_large_payloads_is_shorter(self, send, monkeypatch):
        monkeypatch.setattr("flows.api.batch.CHUNK_BYTES", 20)
        with mock.patch("flows.engine.start_many", wraps=engine.start_many) as start_many:
            assert send(numbered(5)).json()["accepted"] == 5

        assert [len(call.args[1]) for call in start_many.call_args_list] == [3, 2]

    def test_priority_and_time_count_for_all(self, send):
        at = (timezone.now() + timedelta(hours=1)).replace(microsecond=0)
        text = at.isoformat().replace("+00:00", "Z")

        send(numbered(2), query=f"flowName=loan&priority=7&startAt={text}")

        assert set(Message.objects.values_list("priority", "available_at")) == {(7, at)}

    def test_whole_batch_may_be_larger_than_a_payload(self, send, settings):
        settings.ASYNCENGINE_MAX_PAYLOAD_BYTES = 20

        assert send(numbered(100)).json()["accepted"] == 100

    def test_body_in_chunks_is_read_to_its_end(self, send):
        response = send(
            b"is not looked at",
            CONTENT_LENGTH="",
            HTTP_TRANSFER_ENCODING="chunked",
            **{"wsgi.input_terminated": True, "wsgi.input": BytesIO(numbered(3))},
        )

        assert response.json()["accepted"] == 3

    def test_long_answer_is_streamed(self, send, monkeypatch):
        monkeypatch.setattr("flows.api.batch_answer.ANSWER_BYTES", 100)

        response = send(numbered(20) + b"no\n")

        assert response.streaming
        document = json.loads(b"".join(response))
        assert document["accepted"] == len(document["correlationIds"]) == 20
        assert [entry["line"] for entry in document["rejected"]] == [21]

    @pytest.mark.long
    def test_memory_does_not_grow_with_the_batch(self, send):
        class Endless:
            """Ten megabytes of lines that are refused."""

            left = 160

            def read(self, size: int = -1) -> bytes:
                self.left -= 1
                return (b"x" * 1023 + b"\n") * 64 if self.left >= 0 else b""

            readline = read

        send(b"no")
        tracemalloc.start()
        response = send(
            b"is not looked at",
            CONTENT_LENGTH="",
            HTTP_TRANSFER_ENCODING="chunked",
            **{"wsgi.input_terminated": True, "wsgi.input": Endless()},
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        response.close()

        assert response.status_code == 202
        assert peak < 4 * 1024 * 1024


class TestRejected:
    def test_invalid_lines_are_named_and_the_others_accepted(self, send):
        body = b'{"n": 1}\n\nno json\n[]\n{"n": 2}\n{"n": "\\u0000"}\n{"n": "\xff"}\n{"n":1,"n":1}'

        document = send(body).json()

        assert document["accepted"] == len(document["correlationIds"]) == 2
        assert [entry["line"] for entry in document["rejected"]] == [3, 4, 6, 7, 8]
        assert document["rejected"][1]["detail"] == "The payload must be a JSON object."
        # What is wrong with a text that is no JSON is said once.
        assert "$" not in document["rejected"][0]["detail"]
        assert payloads() == [{"n": 1}, {"n": 2}]

    def test_invalid_elements_are_named_by_their_place(self, send):
        body = b'[{"n": 1}, 7, {"n": 2},, {"n" 3}, {"n": 4},]'

        document = send(body, "application/json").json()

        assert [entry["line"] for entry in document["rejected"]] == [2, 4, 5, 7]
        assert document["accepted"] == 3

    def test_payloads_are_held_to_the_input_parameters(self, send, user):
        grant(user, Right.START, make_loan_flow("strict", schema=SCHEMA))

        document = send(b'{"n": 1}\n{"n": "x"}\n{}', query="flowName=strict").json()

        assert document["accepted"] == 1
        first, second = document["rejected"]
        assert (first["line"], second["line"]) == (2, 3)
        assert "of the first script. $.n: " in first["detail"]

    @pytest.mark.parametrize("content_type", [NDJSON, "application/json"])
    def test_payload_over_the_limit_is_rejected_alone(self, send, settings, content_type):
        settings.ASYNCENGINE_MAX_PAYLOAD_BYTES = 50
        items = [b'{"n": 1}', b'{"n": "%s"}' % (b"x" * 200_000), b'{"n": 2}']
        body = b"\n".join(items) if content_type == NDJSON else b"[%s]" % b",".join(items)

        document = send(body, content_type).json()

        assert document["accepted"] == 2
        [entry] = document["rejected"]
        assert entry == {
            "line": 2,
            "type": "/async/problems/payload-too-large",
            "detail": "The payload may have at most 50 bytes.",
        }

    def test_batch_stops_at_the_first_line_that_has_no_room(self, send):
        room(7)

        response = send(b"no\n" + numbered(20))

        document = response.json()
        assert response.status_code == 202
        assert int(response["Retry-After"]) >= 1
        assert document["accepted"] == 7
        assert [payload["n"] for payload in payloads()] == list(range(7))
        assert [entry["line"] for entry in document["rejected"]] == [1, 9]
        assert document["rejected"][0]["type"] == "/async/problems/payload-invalid"
        assert document["rejected"][1]["type"] == "/async/problems/queue-full"
        assert document["nextLine"] == 9
        assert QueueState.objects.get(queue__name="loan queue 1").depth == 7

    @pytest.mark.sampled(4)
    @pytest.mark.parametrize("chunk", [1, 7, 500])
    @pytest.mark.parametrize("size", [1, 5, 13, 30, 60])
    @pytest.mark.parametrize("form", [NDJSON, "application/json"])
    def test_what_is_accepted_has_no_holes(self, send, monkeypatch, chunk, size, form):
        monkeypatch.setattr("flows.api.batch.CHUNK_ITEMS", chunk)
        room(size)
        items = [b"[]" if n % 4 == 2 else b'{"n": %d}' % n for n in range(40)]
        body = b"\n".join(items) if form == NDJSON else b"[%s]" % b",".join(items)

        document = send(body, form).json()

        sound = [n for n in range(40) if n % 4 != 2]
        stop = sound[size] if size < len(sound) else None
        assert [payload["n"] for payload in payloads()] == sound[:size]
        assert document.get("nextLine") == (stop if stop is None else stop + 1)
        refused = [n + 1 for n in range(40) if n % 4 == 2 and (stop is None or n < stop)]
        assert [entry["line"] for entry in document["rejected"]] == refused + (
            [] if stop is None else [stop + 1]
        )

    def test_room_that_comes_later_is_not_given_to_later_lines(self, send, monkeypatch):
        monkeypatch.setattr("flows.api.batch.CHUNK_ITEMS", 4)
        room(2)

        def make_room(*args: Any, **more: Any) -> Any:
            try:
                return start_many(*args, **more)
            except QueueFull:
                if len(args[1]) == 1:
                    room(10)
                raise

        start_many = engine.start_many
        with mock.patch("flows.engine.start_many", side_effect=make_room):
            document = send(numbered(8)).json()

        assert [payload["n"] for payload in payloads()] == [0, 1]
        assert document["nextLine"] == 3

    def test_what_follows_can_be_sent_again_from_the_line_that_is_named(self, send):
        room(7)
        lines = numbered(20).splitlines(keepends=True)
        first = send(b"".join(lines)).json()
        room(100)

        second = send(b"".join(lines[first["nextLine"] - 1 :])).json()

        assert "nextLine" not in second
        assert [payload["n"] for payload in payloads()] == list(range(20))

    def test_rest_of_a_batch_that_stopped_is_read_so_that_its_answer_is(self, send):
        class Counted(BytesIO):
            end = 0

            def read(self, size: int | None = -1) -> bytes:
                piece = super().read(size)
                Counted.end = self.tell()
                return piece

            readline = read

        room(1)
        body = numbered(50_000)

        response = send(
            b"is not looked at",
            CONTENT_LENGTH="",
            HTTP_TRANSFER_ENCODING="chunked",
            **{"wsgi.input_terminated": True, "wsgi.input": Counted(body)},
        )

        assert response.json()["nextLine"] == 2
        assert Counted.end == len(body)

    def test_queue_that_takes_nothing_refuses_the_batch(self, send):
        room(1)
        engine.start("loan", {})

        response = send(numbered(3))

        assert_problem(response, 429, "queue-full")
        assert int(response["Retry-After"]) >= 1
        assert Run.objects.count() == 1

    @pytest.mark.parametrize(
        ("error", "word"),
        [
            (OperationalError("away"), "database-unavailable"),
            (CommitInDoubt("lost"), "outcome-unknown"),
        ],
    )
    def test_database_that_goes_away_stops_the_batch(self, send, monkeypatch, error, word):
        monkeypatch.setattr("flows.api.batch.CHUNK_ITEMS", 2)
        start_many = engine.start_many
        answers = [start_many, mock.Mock(side_effect=error), start_many]

        def answer(*args: Any, **more: Any) -> Any:
            return answers.pop(0)(*args, **more)

        with mock.patch("flows.engine.start_many", side_effect=answer):
            document = send(numbered(6)).json()

        assert document["accepted"] == 2
        [entry] = document["rejected"]
        assert (entry["line"], entry["type"]) == (3, f"/async/problems/{word}")
        assert document["nextLine"] == 3

    def test_database_that_is_away_from_the_first_is_said_so(self, send):
        with mock.patch("flows.engine.start_many", side_effect=OperationalError("away")):
            assert_problem(send(numbered(2)), 503, "database-unavailable")

    def test_first_thousand_of_each_are_listed_and_all_counted(self, send, monkeypatch):
        monkeypatch.setattr("flows.api.batch_answer.MOST_LISTED", 3)
        monkeypatch.setattr(Listing.__init__, "__defaults__", (3,))
        room(7)

        document = send(b"no\n" * 5 + numbered(8)).json()
        every = send(b"no\n" * 5, query="flowName=loan&correlationIds=all").json()

        assert (document["accepted"], len(document["correlationIds"])) == (7, 3)
        # The refusal that stopped it is always there.
        assert [entry["line"] for entry in document["rejected"]] == [1, 2, 3, 13]
        assert (document["rejectedCount"], document["nextLine"]) == (6, 13)
        assert (every["rejectedCount"], len(every["rejected"])) == (5, 3)


class TestMeanwhile:
    """What changes while a batch comes, which may take hours, counts for the lines that follow."""

    @pytest.fixture(autouse=True)
    def looks_each_time(self, monkeypatch):
        monkeypatch.setattr("flows.api.batch_caller.LOOK_SECONDS", 0.0)
        monkeypatch.setattr("flows.api.batch.CHUNK_ITEMS", 2)

    @pytest.mark.parametrize("query", ["flowName=loan", "flowName=loan&keyField=key"])
    @pytest.mark.parametrize(
        ("change", "word"),
        [
            (lambda: Flow.objects.update(active=False), "flow-not-runnable"),
            (lambda: RoleMapping.objects.all().delete(), "no-role"),
            (lambda: get_user_model().objects.update(is_active=False), "no-role"),
            (lambda: Flow.objects.update(name="other"), "unknown-flow"),
            (lambda: AuthToken.objects.all().delete(), "not-authenticated"),
        ],
    )
    def test_batch_stops_where_the_flow_takes_no_more_of_its_caller(
        self, send, monkeypatch, query, change, word
    ):
        store_start = store().start

        def then_changed(runs: Any, **options: Any) -> Any:
            store_start(runs, **options)
            change()

        monkeypatch.setattr(store(), "start", then_changed)
        body = b"".join(b'{"n": %d, "key": "%d"}\n' % (n, n) for n in range(6))

        document = send(body, query=query).json()

        assert document["accepted"] == Run.objects.count() == 2
        [entry] = document["rejected"]
        assert (entry["line"], entry["type"]) == (3, f"/async/problems/{word}")
        assert document["nextLine"] == 3

    @pytest.mark.parametrize("log_in", ["password", "session"])
    def test_batch_ends_with_the_password_and_with_the_session(
        self, send, user, monkeypatch, log_in
    ):
        by = Client(headers=basic("caller")) if log_in == "password" else Client()
        if log_in == "session":
            by.force_login(user)
        store_start = store().start

        def then_ended(runs: Any, **options: Any) -> Any:
            store_start(runs, **options)
            user.set_password("another one")
            user.save()
            Session.objects.all().delete()

        monkeypatch.setattr(store(), "start", then_ended)

        document = send(numbered(3), by=by).json()

        assert (document["accepted"], document["nextLine"]) == (2, 3)
        assert document["rejected"][0]["type"] == "/async/problems/not-authenticated"

    def test_line_that_waits_is_let_go(self, send, monkeypatch):
        room(1)

        def no_room(*args: Any, **options: Any) -> bool:
            Flow.objects.update(active=False)
            return False

        monkeypatch.setattr("flows.engine.has_room", no_room)
        document = send(numbered(3), query="flowName=loan&wait=600").json()

        [entry] = document["rejected"]
        assert (entry["line"], entry["type"]) == (2, "/async/problems/flow-not-runnable")

    def test_lines_that_follow_run_the_flow_as_it_is_by_then(self, send):
        start_many = engine.start_many

        def then_changed(*args: Any, **options: Any) -> Any:
            started = start_many(*args, **options)
            script = Script.objects.get(name="loan script 1")
            script.code += "\n"
            script.save()
            return started

        with mock.patch("flows.engine.start_many", side_effect=then_changed):
            assert send(numbered(4)).json()["accepted"] == 4

        versions = Run.objects.order_by("pk").values_list("flow_version__number", flat=True)
        assert list(versions) == [1, 1, 2, 2]


class TestWaiting:
    """With `wait` a line waits for room, at most so long."""

    @pytest.fixture(autouse=True)
    def short_pauses(self, monkeypatch):
        for name in ("GATHER_SECONDS", "FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS"):
            monkeypatch.setattr(f"flows.api.batch_starter.{name}", 0.001)

    @pytest.mark.sampled(3)
    @pytest.mark.parametrize("chunk", [3, 500])
    @pytest.mark.parametrize("query", ["", "&startAt=2001-01-01T00:00:00Z", "&keyField=key"])
    def test_all_lines_are_taken_in_their_order_as_room_comes(
        self, send, monkeypatch, chunk, query
    ):
        monkeypatch.setattr("flows.api.batch.CHUNK_ITEMS", chunk)
        room(4)
        sizes = iter([4, 4, 5, 5, 5, 20, *range(21, 100)])
        has_room = engine.has_room

        def more_room(*args: Any, **options: Any) -> bool:
            room(next(sizes))
            return has_room(*args, **options)

        body = b"".join(b'{"n": %d, "key": "%d"}\n' % (n, n) for n in range(40))
        with mock.patch("flows.engine.has_room", side_effect=more_room):
            document = send(b"no\n" + body, query=f"flowName=loan&wait=60{query}").json()

        assert document["accepted"] == 40
        assert "nextLine" not in document
        assert [payload["n"] for payload in payloads()] == list(range(40))

    @pytest.mark.parametrize("query", ["", "&keyField=key"])
    def test_invalid_line_far_behind_those_that_wait_is_rejected_alone(
        self, send, monkeypatch, query
    ):
        """So far that the queue is found full before that line is read."""
        room(4)
        has_room = engine.has_room

        def more_room(*args: Any, **options: Any) -> bool:
            room(1_000)
            return has_room(*args, **options)

        monkeypatch.setattr(engine, "has_room", more_room)
        body = [b'{"n": %d, "key": "%d"}' % (n, n) for n in range(140)]
        body[120] = b"no"

        document = send(b"\n".join(body), query=f"flowName=loan&wait=60{query}").json()

        assert document["accepted"] == Run.objects.count() == 139
        [entry] = document["rejected"]
        assert (entry["line"], entry["type"]) == (121, "/async/problems/payload-invalid")

    @pytest.mark.parametrize("query", ["", "&keyField=key"])
    def test_lines_behind_one_that_waits_run_the_flow_as_it_is_by_then(
        self, send, flow, monkeypatch, query
    ):
        monkeypatch.setattr("flows.api.batch_caller.LOOK_SECONDS", 0.0)
        room(1)
        has_room = engine.has_room

        def changed(*args: Any, **options: Any) -> bool:
            step = flow.steps.earliest("position")
            if step.queue.name == "loan queue 1":
                # The queue before stays full.
                step.queue = Queue.objects.create(name="wider")
                step.save()
                step.script.input_schema = SCHEMA
                step.script.save()
            return has_room(*args, **options)

        monkeypatch.setattr(engine, "has_room", changed)
        numbers = [b"0", b"1", b'"two"', b"3"]
        body = b"".join(b'{"n": %s, "key": "%d"}\n' % (n, i) for i, n in enumerate(numbers))

        document = send(body, query=f"flowName=loan&wait=5{query}").json()

        assert document["accepted"] == 3
        [entry] = document["rejected"]
        assert (entry["line"], entry["type"]) == (3, "/async/problems/payload-invalid")
        versions = Run.objects.order_by("pk").values_list("flow_version__number", flat=True)
        assert list(versions) == [1, 2, 2]

    def test_line_that_gets_no_room_in_time_stops_the_batch(self, send):
        room(2)

        response = send(numbered(5), query="flowName=loan&wait=0.05")

        assert (response.status_code, response.json()["nextLine"]) == (202, 3)
        assert int(response["Retry-After"]) >= 1
        assert_problem(send(numbered(1), query="flowName=loan&wait=0.05"), 429, "queue-full")

    def test_room_that_others_take_does_not_prolong_the_wait(self, send):
        room(1)
        with mock.patch("flows.engine.has_room", return_value=True):
            document = send(numbered(2), query="flowName=loan&wait=0.05").json()

        assert document["nextLine"] == 2

    def test_longest_wait_is_ten_minutes(self, send):
        with mock.patch("flows.api.batch.Patience") as patience:
            send(numbered(1), query="flowName=loan&wait=1e9")

        assert patience.call_args.args[2] == 600.0

    def test_batch_that_finds_no_place_to_wait_stops_at_once(self, send, monkeypatch):
        monkeypatch.setattr("flows.api.batch.NO_FRONT", Turn(BoundedSemaphore(1)))
        room(1)
        with batch.NO_FRONT.left() as is_first:
            document = send(numbered(2), query="flowName=loan&wait=600").json()

        assert is_first
        assert document["nextLine"] == 2


class TestKeys:
    """With `keyField` each line has an idempotency key of its own."""

    QUERY = "flowName=loan&keyField=id"

    def line(self, key: Any, n: int = 0) -> bytes:
        return json.dumps({"id": key, "n": n}).encode() + b"\n"

    def test_batch_that_is_sent_again_starts_each_line_once(self, send):
        body = b"".join(self.line(f"order {n}", n) for n in range(20))
        first = send(body[: len(body) // 2], query=self.QUERY).json()

        second = send(body, query=self.QUERY).json()
        third = send(body, query=self.QUERY).json()

        assert (second["accepted"], second["rejectedCount"]) == (20, 0)
        assert second["correlationIds"][: first["accepted"]] == first["correlationIds"]
        assert third["correlationIds"] == second["correlationIds"]
        assert [payload["n"] for payload in payloads()] == list(range(20))
        assert QueueState.objects.get(queue__name="loan queue 1").depth == 20

    def test_key_counts_with_that_of_a_single_start_and_within_the_batch(self, send, post):
        single = post(body=self.line("one"), headers={"Idempotency-Key": "one"}).json()
        lines = [self.line("one"), self.line("two"), self.line("two"), self.line("two", 1)]

        document = send(b"".join([*lines, self.line("one", 1)]), query=self.QUERY).json()

        assert document["accepted"] == 3
        assert document["correlationIds"][0] == single["correlationId"]
        assert document["correlationIds"][1] == document["correlationIds"][2]
        assert [(entry["line"], entry["type"]) for entry in document["rejected"]] == [
            (4, "/async/problems/idempotency-conflict"),
            (5, "/async/problems/idempotency-conflict"),
        ]
        of_line, of_call = (entry["detail"] for entry in document["rejected"])
        assert f"the run {document['correlationIds'][1]} with another request: the pay" in of_line
        assert f"the run {single['correlationId']} with another request: the payload" in of_call
        assert "nextLine" not in document
        assert Run.objects.count() == 2

    @pytest.mark.parametrize("key", [None, 7, "", "x" * 256, "a\tb", {}])
    def test_line_without_a_key_is_rejected_alone(self, send, key):
        body = self.line("a") + self.line(key) + b'{"n": 1}\n' + self.line("ä,b")

        document = send(body, query=self.QUERY).json()

        assert [entry["line"] for entry in document["rejected"]] == [2, 3]
        assert all("The key 'id' must" in entry["detail"] for entry in document["rejected"])
        assert document["rejected"][1]["detail"].endswith("must be a member of the payload.")
        assert document["accepted"] == 2

    def test_lines_that_were_taken_before_need_no_room(self, send):
        body = b"".join(self.line(str(n), n) for n in range(10))
        room(6)

        first = send(body, query=self.QUERY).json()
        again = send(body, query=self.QUERY).json()

        assert (first["accepted"], first["nextLine"]) == (6, 7)
        assert (again["accepted"], again["nextLine"]) == (6, 7)
        assert again["correlationIds"] == first["correlationIds"]

    @pytest.mark.parametrize("is_stored", [True, False])
    def test_commit_in_doubt_is_settled_by_the_keys(self, send, monkeypatch, is_stored):
        doubts = [CommitInDoubt("lost")]
        store_them = keyed._store

        def once_in_doubt(*args: Any) -> None:
            if is_stored or not doubts:
                store_them(*args)
            if doubts:
                raise doubts.pop()

        monkeypatch.setattr(keyed, "_store", once_in_doubt)
        monkeypatch.setattr("flows.starts.doubt.connection.close", lambda: None)

        document = send(self.line("a") + self.line("b"), query=self.QUERY).json()

        assert document["accepted"] == 2
        assert Run.objects.count() == 2

    def test_key_that_another_call_uses_meanwhile_gives_its_run(self, send, flow, user):
        others = [engine.start]
        bulk_create = IdempotencyKey.objects.bulk_create

        def others_first(keys: Any) -> Any:
            if others:
                others.pop()("loan", self.line("b").strip(), user=user, idempotency_key="b")
            return bulk_create(keys)

        with mock.patch.object(IdempotencyKey.objects, "bulk_create", side_effect=others_first):
            document = send(b"".join(map(self.line, "abc")), query=self.QUERY).json()

        assert document["accepted"] == 3
        assert Run.objects.count() == 3

    def test_key_counts_for_a_day(self, send):
        send(self.line("a"), query=self.QUERY)
        IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))

        assert send(self.line("a", 1), query=self.QUERY).json()["accepted"] == 1
        assert Run.objects.count() == 2
        assert IdempotencyKey.objects.count() == 1


class TestRefused:
    @pytest.mark.parametrize("body", [b"", b"{}", b"7", b'"text"', b"  ", b'x[{"n": 1}]', b"]"])
    def test_body_that_is_no_array_is_refused(self, send, body):
        assert_problem(send(body, "application/json"), 400, "payload-invalid")

    @pytest.mark.parametrize(
        ("body", "line"),
        [
            (b'[{"n": 1}', 1),
            (b'[{"n": 1},', 2),
            (b'[{"n": 1}, {"n": "2}]', 2),
            (b'[{"n": 1}] x', 2),
            (b'[{"n": 1}}', 2),
            (b'[{"n": 1}][', 2),
        ],
    )
    def test_array_that_breaks_later_is_rejected_from_there(self, send, body, line):
        document = send(body, "application/json").json()

        assert document["rejected"][-1]["line"] == line
        assert len(payloads()) == document["accepted"]

    @pytest.mark.parametrize(
        "query",
        [
            "",
            "flowName=",
            "flowName=loan&x=1",
            "flowName=loan&priority=10",
            "flowName=loan&startAt=soon",
            *(f"flowName=loan&wait={wait}" for wait in ("", "-1", "x", "nan", "1&wait=1")),
            "flowName=loan&keyField=",
            "flowName=loan&correlationIds=none",
            "flowName=loan&startAt=9999-12-31T00:00:00Z",
        ],
    )
    def test_wrong_query_is_refused(self, send, query):
        assert_problem(send(numbered(1), query=query), 400, "query-invalid")

    def test_idempotency_key_is_refused_since_it_names_one_start(self, send):
        response = send(numbered(1), headers={"Idempotency-Key": "x"})

        assert_problem(response, 400, "header-invalid")

    @pytest.mark.parametrize(
        ("content_type", "headers"),
        [
            ("text/plain", {}),
            (f"{NDJSON}; charset=latin-1", {}),
            (NDJSON, {"Content-Encoding": "gzip"}),
        ],
    )
    def test_body_that_is_not_json_in_utf_8_is_refused(self, send, content_type, headers):
        response = send(numbered(1), content_type, headers=headers)

        assert_problem(response, 415, "unsupported-media-type")
        assert "Accept" in response or response["Accept-Encoding"] == "identity"

    def test_refused_body_is_told_what_it_may_be(self, send):
        kind = send(numbered(1), "text/plain").json()
        coding = send(numbered(1), NDJSON, headers={"Content-Encoding": "gzip"}).json()

        assert kind["detail"] == (
            "The body must be application/json or application/x-ndjson, not text/plain."
        )
        assert coding["detail"].endswith("send the body as it is, without Content-Encoding.")

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            (NDJSON, numbered(3)),
            ("application/json", b'[{"n": 1}, {"n": 2}, {"n": 3}]'),
        ],
    )
    def test_a_byte_order_mark_at_the_beginning_is_left_out(self, send, content_type, body):
        plain, marked = (send(mark + body, content_type) for mark in (b"", BOM_UTF8))

        assert marked.status_code == plain.status_code
        assert marked.json()["accepted"] == plain.json()["accepted"]
        assert marked.json()["rejectedCount"] == 0

    def test_a_byte_order_mark_elsewhere_is_refused(self, send):
        document = send(BOM_UTF8 * 2 + numbered(2)).json()

        assert document["accepted"] == 1
        assert "BOM" in document["rejected"][0]["detail"]

    def test_caller_and_flow_are_checked_as_for_one_start(self, send, anonymous, client, user):
        make_loan_flow("foreign")
        asleep = make_loan_flow("asleep", active=False)
        grant(user, Right.START, asleep)

        assert_problem(send(b"{}", by=anonymous), 401, "not-authenticated")
        assert_problem(send(b"{}", query="flowName=foreign"), 403, "no-role")
        assert_problem(send(b"{}", query="flowName=unknown"), 404, "unknown-flow")
        assert_problem(send(b"{}", query="flowName=asleep"), 409, "flow-not-runnable")
        assert_problem(client.get(PATH), 405, "method-not-allowed")

    def test_superuser_needs_no_role(self, send, admin):
        assert send(numbered(1), by=client_of(admin)).json()["accepted"] == 1


class TestItems:
    BODY = b'[{"a": "\\\\", "b": ["]", "\\""]}, "}{,", 7 ,{"c": {"d": [[1], 2]}}]'

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
    def test_elements_are_found_wherever_the_pieces_are_cut(self, size):
        chunks = [self.BODY[at : at + size] for at in range(0, len(self.BODY), size)]

        found = [json.loads(item.raw) for item in elements(chunks, 100)]

        assert found == json.loads(self.BODY)

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
    def test_lines_are_found_wherever_the_pieces_are_cut(self, size):
        body = b"aa\n\nbbb\n" + b"c" * 11 + b"\nd"
        chunks = [body[at : at + size] for at in range(0, len(body), size)]

        assert list(lines(chunks, 10)) == [
            Item(1, b"aa"),
            Item(3, b"bbb"),
            Item(4, b"", "The payload may have at most 10 bytes.", "payload-too-large"),
            Item(5, b"d"),
        ]

    def test_what_is_no_array_is_noticed_with_the_first_piece(self):
        def chunks():
            yield b"  {"
            raise AssertionError

        with pytest.raises(Problem):
            list(elements(chunks(), 10))

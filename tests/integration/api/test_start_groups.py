"""Starts that are stored together, through the front: each has its own right answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import timedelta
from threading import Lock
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.db import DataError, OperationalError, connections
from django.db.models.signals import pre_save
from django.utils import timezone
from knox.models import AuthToken

from asyncengine.wsgi import application
from flows import engine
from flows.api import start_groups
from flows.api.errors import answer_to
from flows.api.start_groups import Call, QuickStarts
from flows.errors import CommitInDoubt
from flows.front.application import Front
from flows.models import Flow, IdempotencyKey, Message, Queue, QueueState, RefusedStarts, Run
from flows.starts import group, rates
from flows.starts.refusals import refusals
from flows.store import store
from tests.integration.api.helpers import PASSWORD, grant, make_loan_flow
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

START = "/async/api/start?flowName=loan"


class CountingStarts(QuickStarts):
    """Remembers how many starts each group had."""

    def __init__(self, lock: Lock) -> None:
        super().__init__()
        self.groups: list[int] = []
        self.connections: list[Any] = []
        self._one_at_a_time = lock

    def _start(self, calls: list[Call]) -> Sequence[Any]:
        self.groups.append(len(calls))
        with self._one_at_a_time:
            keep_to_close(self.connections)
            return super()._start(calls)


def keep_to_close(kept: list[Any]) -> None:
    """Keep the connection of this thread, which goes on after its test, for `Server.close`."""
    own = connections["default"]
    if own not in kept:
        own.inc_thread_sharing()
        kept.append(own)


class Server:
    """The front as the server calls it, with the token of a caller."""

    def __init__(self) -> None:
        # SQLite's database in memory, which tests use, lets no writer wait for another.
        lock = Lock()

        def view(environ: Any, start_response: Any) -> Any:
            with lock:
                keep_to_close(self.quick.connections)
                return application(environ, start_response)

        self.lock = lock
        self.quick = CountingStarts(lock)
        self.front = Front(view, answer_to, threads=1, quick=self.quick)

    def close(self) -> None:
        for each in self.quick.connections:
            each.close()

    @property
    def groups(self) -> list[int]:
        return self.quick.groups

    def post(self, *payloads: Any, **how: Any) -> list[Any]:
        """Post payloads at the same time; return status, headers and document of each answer."""
        return self.post_each([(payload, how) for payload in payloads])

    def post_each(self, calls: list[tuple[Any, dict[str, str]]]) -> list[Any]:
        """Post payloads at the same time, each in its own way."""

        async def all_of_them() -> list[Any]:
            return await asyncio.gather(*(self._post(payload, **how) for payload, how in calls))

        return asyncio.run(all_of_them())

    async def _post(
        self, payload: Any, path: str = START, token: str = "", **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        path, _, query = path.partition("?")
        said = {
            "host": "testserver",
            "content-type": "application/json",
            "content-length": str(len(body)),
            "authorization": f"Bearer {token or self.token}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        scope = {
            "type": "http",
            "method": "POST",
            "http_version": "1.1",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in said.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        sent: list[dict[str, Any]] = []

        pieces = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            # After its body the caller stays.
            return pieces.pop() if pieces else await asyncio.Future()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.front(scope, receive, send)
        answer = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        text = b"".join(message.get("body", b"") for message in sent[1:])
        return sent[0]["status"], answer, json.loads(text)

    token = ""


@pytest.fixture
def caller() -> User:
    user = User.objects.create_user("caller", password=PASSWORD)
    grant(user)
    return user


@pytest.fixture
def server(caller: User) -> Any:
    make_loan_flow(schema={"properties": {"amount": {"type": "number"}}})
    server = Server()
    server.token = AuthToken.objects.create(caller)[1]
    yield server
    # The threads of the server keep connections of their own.
    server.close()
    connections.close_all()


@pytest.fixture
def warm(server: Server) -> Server:
    """A server that has accepted such a start just now."""
    [(status, _, _)] = server.post({"amount": 0})
    assert status == 202
    return server


def test_starts_at_the_same_time_are_stored_together_and_each_has_its_run(warm: Server, caller):
    answers = warm.post(*({"amount": n} for n in range(50)))

    assert [status for status, _, _ in answers] == [202] * 50
    assert sum(warm.groups) == 50
    assert max(warm.groups) > 1
    for n, (_, headers, document) in enumerate(answers):
        run = Run.objects.get(pk=document["correlationId"])
        assert run.started_by == caller
        body = json.loads(Message.objects.get(run_id=run.pk).body)
        assert body == {"correlationId": document["correlationId"], "payload": {"amount": n}}
        assert headers["location"].endswith(f"/async/api/runs/{document['correlationId']}")
        assert document["statusUrl"] == headers["location"]
    assert QueueState.objects.get(queue__name="loan queue 1").depth == 51


def test_an_answer_is_that_of_the_view_but_for_the_run(server: Server):
    [(status, headers, document)] = server.post({"amount": 1})
    [(quick_status, quick_headers, quick)] = server.post({"amount": 2})

    assert server.groups == [1]
    run, quick_run = document["correlationId"], quick["correlationId"]
    assert run != quick_run
    assert quick_status == status
    assert json.loads(json.dumps(quick).replace(quick_run, run)) == document
    assert {k: v.replace(quick_run, run) for k, v in quick_headers.items()} == headers


def test_a_refusal_of_a_full_queue_is_that_of_the_view(warm: Server):
    Queue.objects.filter(name="loan queue 1").update(size=3)

    answers = warm.post(*({"amount": n} for n in range(6)))
    groups = sum(warm.groups)
    [seen] = warm.post({"amount": 7}, x_other="1")

    assert sorted(status for status, _, _ in answers) == [202, 202, 429, 429, 429, 429]
    assert groups == 6
    refused = next(answer for answer in answers if answer[0] == 429)
    assert (refused[0], sorted(refused[1].items()), refused[2]) == (
        seen[0],
        sorted(seen[1].items()),
        seen[2],
    )
    assert QueueState.objects.get(queue__name="loan queue 1").depth == 3
    assert Message.objects.count() == Run.objects.count() == 3


def test_refusals_of_a_full_queue_are_learnt_and_the_first_start_with_room_is_accepted(
    server: Server,
):
    Queue.objects.filter(name="loan queue 1").update(size=1)
    engine.start("loan", {"amount": 0})

    [seen] = server.post({"amount": 1})
    quick = server.post({"amount": 2}, {"amount": 3})
    [wrong, keyed] = server.post(b"[]"), server.post({"amount": 4}, idempotency_key="k")
    Queue.objects.filter(name="loan queue 1").update(size=3)
    [accepted], [after] = server.post({"amount": 5}), server.post({"amount": 6})

    assert sum(server.groups[:-3]) == 2
    for status, headers, document in quick:
        assert (status, document) == (seen[0], seen[2])
        assert headers.keys() == seen[1].keys()
    assert [wrong[0][0], keyed[0][0]] == [400, 429]
    assert (accepted[0], after[0]) == (202, 202)
    assert Message.objects.count() == Run.objects.count() == 3
    assert QueueState.objects.get(queue__name="loan queue 1").depth == 3


def test_a_refusal_says_that_the_full_queue_is_paused(warm: Server):
    Queue.objects.filter(name="loan queue 1").update(size=1, paused=True)

    answers = warm.post({"amount": 1}, {"amount": 2})

    assert warm.groups
    assert [status for status, _, _ in answers] == [429, 429]
    assert all(60 <= int(headers["retry-after"]) <= 72 for _, headers, _ in answers)


def test_starts_share_a_rate_and_are_told_how_it_stands(warm: Server, caller: User):
    rates.forget()
    refusals.forget()
    Flow.objects.update(start_rate_count=3, start_rate_period=timedelta(days=1))

    answers = warm.post(*({"amount": n} for n in range(5)))
    refusals.write()

    assert sorted(status for status, _, _ in answers) == [202, 202, 202, 429, 429]
    assert sum(warm.groups) == 5
    for status, headers, _ in answers:
        assert headers["ratelimit-policy"] == '"flow";q=3;w=86400'
        assert re.fullmatch('"flow";r=[0-2];t=86[0-9]{3}', headers["ratelimit"])
        assert ("retry-after" in headers) == (status == 429)
    [counts] = {row.count for row in RefusedStarts.objects.filter(cause="rate")}
    assert counts == 2


@pytest.mark.parametrize(
    ("payload", "type"),
    [
        (b'{"amount": 1', "payload-invalid"),
        (b'{"amount": "one"}', "payload-invalid"),
        (b"[1]", "payload-invalid"),
        (b'{"a": 1, "a": 2}', "payload-invalid"),
        (b'{"a": "\\u0000"}', "payload-invalid"),
        (b"", "payload-invalid"),
    ],
)
def test_a_payload_that_is_refused_harms_no_other(warm: Server, payload: bytes, type: str):
    answers = warm.post({"amount": 1}, payload, {"amount": 2})

    assert [status for status, _, _ in answers] == [202, 400, 202]
    assert answers[1][2]["type"].endswith(type)
    assert answers[1][2] == warm.post(payload, x_other="1")[0][2]


def test_digits_of_a_payload_travel_unchanged(warm: Server):
    text = b'{"amount": 1234567890123456.78, "big": 12345678901234567890123}'

    [(status, _, document)] = warm.post(text)

    assert (status, warm.groups) == (202, [1])
    body = Message.objects.get(run_id=document["correlationId"]).body
    assert text.decode() in body


def revoke(caller: User, flow: Flow) -> None:
    AuthToken.objects.all().delete()


def deactivate(caller: User, flow: Flow) -> None:
    User.objects.filter(pk=caller.pk).update(is_active=False)


def take_role(caller: User, flow: Flow) -> None:
    caller.groups.clear()


def switch_off(caller: User, flow: Flow) -> None:
    flow.active = False
    flow.save()


def rename(caller: User, flow: Flow) -> None:
    flow.name = "credit"
    flow.save()


@pytest.mark.parametrize(
    ("change", "status"),
    [(revoke, 401), (deactivate, 401), (take_role, 403), (switch_off, 409), (rename, 404)],
)
def test_what_was_changed_counts_at_the_next_start(warm: Server, caller, change: Any, status: int):
    change(caller, Flow.objects.get())

    assert [status for status, _, _ in warm.post({"amount": 1}, {"amount": 2})] == [status] * 2
    assert Run.objects.count() == 1


def test_a_role_given_to_another_caller_counts_for_that_one_alone(warm: Server):
    other = User.objects.create_user("other", password=PASSWORD)
    token = AuthToken.objects.create(other)[1]

    assert [status for status, _, _ in warm.post({}, token=token)] == [403]
    grant(other)
    assert [status for status, _, _ in warm.post({}, token=token)] == [202]
    assert [status for status, _, _ in warm.post({}, token=token)] == [202]
    assert Run.objects.filter(started_by=other).count() == 2


def test_the_flow_as_it_is_now_is_started(warm: Server):
    flow = Flow.objects.get()
    before = flow.make_version()
    step = flow.steps.first()
    step.name = "another name"
    step.save()

    [(_, _, document)] = warm.post({"amount": 1})

    assert warm.groups == [1]
    version = Run.objects.get(pk=document["correlationId"]).flow_version
    assert version.pk != before.pk
    assert version.steps.order_by("position").first().name == "another name"


@pytest.mark.parametrize(
    "how",
    [
        {"cookie": "a=b"},
        {"path": f"{START}&priority=9"},
        {"content_encoding": "identity"},
    ],
)
def test_other_requests_are_for_the_view(warm: Server, how: Any):
    for _ in range(3):
        [(status, _, _)] = warm.post({"amount": 1}, **how)
        assert status == 202

    assert warm.groups == []


def test_a_caller_that_sends_another_host_has_its_address_in_the_answer(warm: Server, settings):
    settings.ALLOWED_HOSTS = ["testserver", "other.example.org"]

    answers = [warm.post({"amount": 1}, host="other.example.org")[0] for _ in range(2)]

    assert warm.groups == [1]
    for status, _, document in answers:
        assert status == 202
        assert document["statusUrl"].startswith("http://other.example.org/")
    assert warm.post({"amount": 1}, host="evil.example.org")[0][0] == 400


def test_a_middleware_of_the_projects_own_sees_every_start(caller, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "project.middleware.Counting"]
    server = Server()

    assert server.quick.key_of({"method": "POST", "raw_path": START.encode()}) is None


def test_where_the_database_is_lost_each_caller_is_told(warm: Server):
    lost = OperationalError("the connection is closed")

    with mock.patch("flows.store.store.Store.start", side_effect=lost):
        answers = warm.post(*({"amount": n} for n in range(4)))

    assert {status for status, _, _ in answers} == {503}
    assert {document["type"] for _, _, document in answers} == {
        "/async/problems/database-unavailable"
    }
    assert Run.objects.count() == 1


@pytest.mark.parametrize("is_in_doubt", [False, True])
def test_callers_behind_a_group_that_long_looked_for_a_lost_database_do_not_look_once_more(
    warm: Server, monkeypatch: pytest.MonkeyPatch, is_in_doubt: bool
):
    monkeypatch.setattr(start_groups, "LONG_SECONDS", 0.0)
    looks: list[int] = []

    def looks_for_it(calls: list[Call], look_for_room: bool) -> list[Any]:
        looks.append(len(calls))
        wait_for(lambda: warm.quick._calls.qsize() + len(calls) == 5, what="the others")
        lost = OperationalError("connection timeout expired")
        if not is_in_doubt:
            raise lost
        doubt = CommitInDoubt("the connection was lost")
        doubt.__cause__ = lost
        return [doubt] * len(calls)

    with mock.patch.object(start_groups, "start_all", looks_for_it):
        answers = warm.post(*({"amount": n} for n in range(5)))

    first = 504 if is_in_doubt else 503
    assert sorted(status for status, _, _ in answers) == sorted(
        [first] * looks[0] + [503] * (5 - looks[0])
    )
    assert len(looks) == 1
    assert [status for status, _, _ in warm.post({"amount": 5})] == [202]


def test_callers_behind_a_group_that_failed_at_once_or_by_itself_are_started(
    warm: Server, monkeypatch: pytest.MonkeyPatch
):
    start_all, errors = start_groups.start_all, [OperationalError("closed"), DataError("value")]

    def fails_twice(calls: list[Call], look_for_room: bool) -> list[Any]:
        wait_for(lambda: warm.quick._calls.qsize() > 0 or len(errors) < 2, what="the others")
        if not errors:
            return start_all(calls, look_for_room)
        monkeypatch.setattr(start_groups, "LONG_SECONDS", 0.0 if len(errors) == 1 else 60.0)
        raise errors.pop(0)

    with mock.patch.object(start_groups, "start_all", fails_twice):
        monkeypatch.setattr(start_groups, "MOST", 1)
        answers = warm.post(*({"amount": n} for n in range(5)))

    assert [status for status, _, _ in answers].count(202) == 3


def test_a_group_whose_commit_is_in_doubt_and_was_made_is_accepted_once(warm: Server):
    start = store().start
    lost: list[int] = []

    def loses_the_answer(runs: Any, **more: Any) -> None:
        start(runs, **more)
        if not lost:
            lost.append(len(runs))
            raise CommitInDoubt("the connection was lost")

    with mock.patch.object(store(), "start", loses_the_answer):
        answers = warm.post(*({"amount": n} for n in range(5)))

    assert [status for status, _, _ in answers] == [202] * 5
    assert lost
    assert Run.objects.count() == Message.objects.count() == 6


def test_where_the_database_stays_lost_a_group_in_doubt_looks_for_it_once(warm: Server):
    looked: list[int] = []
    groups = len(warm.groups)

    def is_lost(runs: Any, **of_group: Any) -> None:
        if of_group:
            raise CommitInDoubt("the connection was lost")
        looked.append(len(runs))
        raise OperationalError("the connection is closed")

    with mock.patch.object(store(), "start", is_lost):
        answers = warm.post(*({"amount": n} for n in range(9)))

    assert [status for status, _, _ in answers] == [504] * 9
    assert len(looked) == len(warm.groups) - groups < 9


def test_a_surprise_with_one_start_harms_no_other_of_its_group(warm: Server):
    new_run = group.new_run

    def surprised(plan: Any, payload: bytes, *rest: Any, **more: Any) -> Any:
        if b"2" in payload:
            raise RuntimeError("a surprise")
        return new_run(plan, payload, *rest, **more)

    with mock.patch.object(group, "new_run", surprised):
        answers = warm.post(*({"amount": n} for n in range(5)))

    assert [status for status, _, _ in answers] == [202, 202, 500, 202, 202]
    assert Run.objects.count() == 5


def test_a_surprise_with_one_key_leaves_what_is_stored_by_then(warm: Server):
    """As a receiver of a project raises it, which hears the models of all apps."""
    with_keys(warm)
    warm.post({"amount": 5}, idempotency_key="k5")
    IdempotencyKey.objects.filter(key="k5").update(created_at=timezone.now() - timedelta(hours=25))

    def hear(sender: Any, **more: Any) -> None:
        raise LookupError("a surprise")

    pre_save.connect(hear, sender=IdempotencyKey)
    try:
        answers = warm.post_each([({"amount": n}, {"idempotency_key": f"k{n}"}) for n in range(6)])
    finally:
        pre_save.disconnect(hear, sender=IdempotencyKey)

    assert [status for status, _, _ in answers] == [202] * 5 + [500]
    assert Run.objects.count() == 3 + 5


def test_starts_with_keys_are_stored_together_and_once(warm: Server):
    with_keys(warm)
    answers = warm.post_each([({"amount": n}, {"idempotency_key": f"k{n}"}) for n in range(20)])
    again = warm.post_each([({"amount": n}, {"idempotency_key": f"k{n}"}) for n in range(20)])

    assert max(warm.groups) > 1
    assert [status for status, _, _ in answers + again] == [202] * 40
    assert [d["correlationId"] for _, _, d in again] == [d["correlationId"] for _, _, d in answers]
    assert not any("idempotent-replayed" in headers for _, headers, _ in answers)
    assert all(headers["idempotent-replayed"] == "true" for _, headers, _ in again)
    assert Run.objects.count() == Message.objects.count() == 22


def test_one_key_twice_at_the_same_time_makes_one_run(warm: Server):
    with_keys(warm)

    answers = warm.post_each([({"amount": 1}, {"idempotency_key": "same"})] * 6)

    assert [status for status, _, _ in answers] == [202] * 6
    assert len({document["correlationId"] for _, _, document in answers}) == 1
    assert Run.objects.count() == 3


def test_one_key_for_another_payload_is_refused_and_harms_no_other(warm: Server):
    with_keys(warm)
    [(_, _, first)] = warm.post({"amount": 1}, idempotency_key="same")

    answers = warm.post_each(
        [
            ({"amount": 2}, {"idempotency_key": "same"}),
            ({"amount": 1}, {"idempotency_key": "same"}),
            ({"amount": 3}, {"idempotency_key": "another"}),
            ({"amount": 3}, {}),
        ]
    )

    assert [status for status, _, _ in answers] == [409, 202, 202, 202]
    assert answers[0][2]["type"] == "/async/problems/idempotency-conflict"
    assert answers[1][2]["correlationId"] == first["correlationId"]
    assert Run.objects.count() == 5


def test_a_key_of_a_day_ago_starts_anew(warm: Server):
    with_keys(warm)
    [(_, _, first)] = warm.post({"amount": 1}, idempotency_key="old")
    IdempotencyKey.objects.update(created_at=timezone.now() - timedelta(hours=25))

    [(status, _, second)] = warm.post({"amount": 1}, idempotency_key="old")

    assert status == 202
    assert second["correlationId"] != first["correlationId"]


def test_a_key_that_is_none_is_refused_by_the_view(warm: Server):
    with_keys(warm)

    assert warm.post({"amount": 1}, idempotency_key="a,b")[0][0] == 400
    assert warm.post({"amount": 1}, idempotency_key="")[0][0] == 400


def test_a_group_with_keys_whose_commit_is_in_doubt_is_accepted_once(warm: Server):
    with_keys(warm)
    insert = group._insert
    lost: list[int] = []

    def loses_the_answer(runs: Any, keys: Any) -> None:
        insert(runs, keys)
        if not lost:
            lost.append(len(runs))
            raise CommitInDoubt("the connection was lost")

    with mock.patch.object(group, "_insert", loses_the_answer):
        answers = warm.post_each([({"amount": n}, {"idempotency_key": f"k{n}"}) for n in range(5)])

    assert [status for status, _, _ in answers] == [202] * 5
    assert lost
    assert {d["correlationId"] for _, _, d in answers} == {
        str(key.run_id) for key in IdempotencyKey.objects.exclude(key="first")
    }
    assert Run.objects.count() == Message.objects.count() == 7


def with_keys(server: Server) -> None:
    """Have such a start with a key accepted by the view."""
    [(status, _, _)] = server.post({"amount": 0}, idempotency_key="first")
    assert status == 202


def test_one_that_cannot_be_stored_harms_no_other_of_its_group(warm: Server):
    start = store().start

    def refuses_three(runs: Any, **more: Any) -> None:
        if any('"amount": 3}' in run.body for run in runs):
            raise DataError("one of the rows")
        start(runs, **more)

    with mock.patch.object(store(), "start", refuses_three):
        answers = warm.post(*({"amount": n} for n in range(5)))

    assert [status for status, _, _ in answers] == [202, 202, 202, 500, 202]


def test_starts_that_are_stored_are_said_so_though_the_database_goes_away_after_them(
    server: Server,
):
    Flow.objects.update(start_rate_count=9, start_rate_period=timedelta(seconds=10))
    [(status, headers, _)] = server.post({})
    assert (status, headers["ratelimit-policy"]) == (202, '"flow";q=9;w=10')

    with mock.patch("flows.api.rate_headers.standings", side_effect=OperationalError("away")):
        answers = server.post({}, {})

    assert server.groups[-1:] != []
    assert [status for status, *_ in answers] == [202, 202]
    assert all("ratelimit" not in headers for _, headers, _ in answers)
    assert Run.objects.count() == 3

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest
from django.utils import timezone

from flows import engine
from flows.models import DeadLetter, Message, Queue, QueueState, Right, Run
from flows.store import store
from tests.builders import open_lease
from tests.integration.api.helpers import assert_problem, client_of, grant, make_loan_flow

PATH = "/async/api/queues"
FIRST = f"{PATH}/loan%20queue%201"


def names(client, path=PATH):
    return [queue["name"] for queue in client.get(path).json()["results"]]


def take(count: int, threads: int = 4) -> None:
    """Have a session hold a number of messages of the first queue."""
    lease = open_lease("loan queue 1", threads)
    assert len(store().claim(lease, lambda plan, threads: count)) == count


@pytest.fixture
def operator(client, user, flow):
    grant(user, Right.OPERATE, flow)
    return client


class TestSeen:
    def test_queue_is_shown_with_what_is_in_it(self, operator):
        engine.start_many("loan", [{}] * 7)
        engine.start("loan", {}, start_at=timezone.now() + timedelta(hours=1))
        engine.start("loan", {}, priority=9, start_at=timezone.now() + timedelta(hours=1))
        oldest = timezone.now() - timedelta(seconds=30)
        Message.objects.filter(available_at__lt=timezone.now()).update(available_at=oldest)
        take(3)

        Queue.objects.filter(name="loan queue 1").update(cluster="reports")

        document = operator.get(FIRST).json()

        age = (timezone.now() - oldest).total_seconds()
        assert 30 <= document.pop("oldestAgeSeconds") <= age + 0.01
        assert document == {
            "name": "loan queue 1",
            "size": 10000,
            "depth": 7,
            "running": 3,
            "delayed": 2,
            "deadLetters": 0,
            "paused": False,
            "ratePerSecond": None,
            "cluster": "reports",
            "waitingBecause": "All threads are busy, 4 of 4.",
            "waitingCode": "threads-busy",
        }

    def test_empty_queue_waits_for_nothing(self, operator):
        document = operator.get(FIRST).json()

        assert document["depth"] == document["running"] == document["delayed"] == 0
        assert document["oldestAgeSeconds"] is None
        assert document["waitingBecause"] is None

    def test_messages_that_are_only_delayed_have_no_age(self, operator):
        engine.start("loan", {}, start_at=timezone.now() + timedelta(hours=1))

        document = operator.get(FIRST).json()

        assert document["oldestAgeSeconds"] is None
        assert document["waitingBecause"].startswith("The start is delayed until ")

    def test_oldest_message_counts_whatever_its_priority(self, operator):
        for priority, seconds in ((0, 100), (9, 10)):
            id = engine.start("loan", {}, priority=priority).correlation_id
            moment = timezone.now() - timedelta(seconds=seconds)
            Message.objects.filter(pk=id).update(available_at=moment)

        assert operator.get(FIRST).json()["oldestAgeSeconds"] >= 100

    def test_no_more_are_running_than_threads_were_granted(self, operator):
        engine.start_many("loan", [{}] * 20)

        take(15, threads=2)

        assert operator.get(FIRST).json()["running"] == 2

    def test_waiting_messages_of_a_deep_queue_are_not_counted(self, operator):
        engine.start_many("loan", [{}] * 20)
        take(2)

        with mock.patch("flows.api.queues.COUNTED", 10):
            document = operator.get(FIRST).json()

        # One for each thread that was granted: a deep queue has enough for them.
        assert document["depth"] == 20
        assert document["running"] == 4

    def test_open_dead_letters_are_counted(self, operator):
        run = Run.objects.get(pk=engine.start("loan", {}).correlation_id)
        step = run.flow_version.steps.get(position=0)
        fields = {"run": run, "step": step, "reason": "rejected", "error": "", "body": "{}"}
        for given_up in (None, None, timezone.now()):
            DeadLetter.objects.create(
                **fields, deliveries=1, dead_at=timezone.now(), discarded_at=given_up
            )

        assert operator.get(FIRST).json()["deadLetters"] == 2

    def test_rate_is_told_by_the_second(self, operator):
        Queue.objects.filter(name="loan queue 1").update(
            rate_count=30, rate_period=timedelta(minutes=1)
        )

        assert operator.get(FIRST).json()["ratePerSecond"] == 0.5

    def test_name_may_have_any_character(self, admin):
        Queue.objects.create(name="a/b c%")

        shown = client_of(admin).get(f"{PATH}/a%2Fb%20c%25").json()

        assert shown["name"] == "a/b c%"

    @pytest.mark.parametrize("right", [None, Right.START])
    def test_queue_that_the_caller_may_not_see_is_not_found(self, client, user, flow, right):
        if right:
            grant(user, right, flow)

        assert_problem(client.get(FIRST), 404, "unknown-queue")

    @pytest.mark.parametrize("name", ["unknown", "%00"])
    def test_unknown_queue_is_not_found(self, client, name):
        assert_problem(client.get(f"{PATH}/{name}"), 404, "unknown-queue")

    def test_caller_without_credentials_is_asked_for_them(self, anonymous, flow):
        assert_problem(anonymous.get(FIRST), 401, "not-authenticated")

    def test_wrong_query_and_method_are_refused(self, operator):
        assert_problem(operator.get(f"{FIRST}?x=1"), 400, "query-invalid")
        assert_problem(operator.post(FIRST), 405, "method-not-allowed")


class TestListed:
    def test_queues_of_watched_and_operated_flows_are_listed_by_name(self, client, user):
        grant(user, Right.WATCH, make_loan_flow("zebra", steps=1))
        grant(user, Right.OPERATE, make_loan_flow("ape", steps=1))
        grant(user, Right.START, make_loan_flow("started", steps=1))
        make_loan_flow("foreign", steps=1)

        assert names(client) == ["ape queue 1", "zebra queue 1"]

    def test_queue_that_feeds_no_step_is_seen_by_who_sees_every_flow(self, client, user, admin):
        Queue.objects.create(name="loose")
        assert names(client) == []
        assert names(client_of(admin)) == ["loose"]

        grant(user, Right.WATCH, None)

        assert names(client) == ["loose"]
        assert client.get(f"{PATH}/loose").status_code == 200

    def test_listed_queue_is_shown_as_by_itself(self, operator):
        queues = operator.get(PATH).json()["results"]

        assert queues[0] == operator.get(FIRST).json()

    def test_pages_follow_each_other_by_next(self, admin):
        client = client_of(admin)
        for name in ("a", "b", "c d"):
            Queue.objects.create(name=name)

        with mock.patch("flows.api.pages.PAGE_SIZE", 2):
            first = client.get(PATH).json()
            second = client.get(first["next"]).json()

        assert [queue["name"] for queue in first["results"]] == ["a", "b"]
        assert [queue["name"] for queue in second["results"]] == ["c d"]
        assert second["next"] is None

    def test_number_of_queries_does_not_grow_with_the_queues(
        self, admin, django_assert_max_num_queries
    ):
        client = client_of(admin)
        for n in range(6):
            flow = make_loan_flow(f"flow {n}", steps=2)
            for _ in range(3):
                engine.start(f"flow {n}", {})
            Message.objects.update(available_at=timezone.now() - timedelta(minutes=1))
            if n % 3 == 0:
                engine.pause(flow.steps.first().queue, user=admin)
            if n % 3 == 1:
                engine.pause(flow, user=admin)
        client.get(PATH)

        with django_assert_max_num_queries(14):
            client.get(PATH)

    def test_wrong_query_is_refused(self, client):
        assert_problem(client.get(f"{PATH}?page=2"), 400, "query-invalid")
        assert_problem(client.get(f"{PATH}?cursor=%00"), 400, "query-invalid")

    def test_caller_without_credentials_is_asked_for_them(self, anonymous):
        assert_problem(anonymous.get(PATH), 401, "not-authenticated")


class TestPaused:
    def test_pause_and_resume_answer_with_the_queue_and_may_be_repeated(self, operator, user):
        for _ in range(2):
            response = operator.post(f"{FIRST}/pause")
            assert response.status_code == 200
            assert response.json()["paused"] is True
        queue = Queue.objects.get(name="loan queue 1")
        assert queue.paused_by == user
        assert queue.history.first().history_user == user

        for _ in range(2):
            response = operator.post(f"{FIRST}/resume")
            assert response.status_code == 200
            assert response.json()["paused"] is False
        assert not Queue.objects.filter(paused=True).exists()

    def test_paused_queue_says_so(self, operator):
        engine.start("loan", {})

        document = operator.post(f"{FIRST}/pause").json()

        sentence = document["waitingBecause"]
        assert sentence.startswith("The queue 'loan queue 1' is paused by caller since ")

    @pytest.mark.parametrize("verb", ["pause", "resume"])
    def test_it_takes_the_right_to_operate(self, client, user, flow, verb):
        grant(user, Right.WATCH, flow)

        assert_problem(client.post(f"{FIRST}/{verb}"), 403, "no-role")
        assert not Queue.objects.filter(paused=True).exists()

    @pytest.mark.parametrize("verb", ["pause", "resume"])
    def test_other_refusals(self, operator, anonymous, verb):
        assert_problem(anonymous.post(f"{FIRST}/{verb}"), 401, "not-authenticated")
        assert_problem(operator.post(f"{PATH}/unknown/{verb}"), 404, "unknown-queue")
        assert_problem(operator.get(f"{FIRST}/{verb}"), 405, "method-not-allowed")
        assert_problem(operator.post(f"{FIRST}/{verb}?x=1"), 400, "query-invalid")

    def test_counters_are_left_alone(self, operator):
        engine.start("loan", {})

        operator.post(f"{FIRST}/pause")

        assert QueueState.objects.get(queue__name="loan queue 1").depth == 1

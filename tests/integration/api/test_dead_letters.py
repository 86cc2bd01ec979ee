from __future__ import annotations

import json
from unittest import mock

import pytest
from django.utils import timezone

from flows import engine
from flows.api.dead_letters import payload_of
from flows.models import DeadLetter, FlowTotals, Message, Queue, QueueState, Right, Run
from flows.monitoring.times import rfc3339
from tests.integration.api.helpers import assert_problem, client_of, grant, make_loan_flow

PATH = "/async/api/dead-letters"
VERBS = ("reprocessed", "discarded")


def make_dead_letter(name="loan", payload=b'{"amount": 5}', step=1, **fields) -> DeadLetter:
    """Start a run and have its message die at a step."""
    run = Run.objects.get(pk=engine.start(name, payload).correlation_id)
    message = Message.objects.get(pk=run.pk)
    QueueState.objects.filter(queue=message.queue_id).update(depth=0)
    Message.objects.filter(pk=message.pk)._raw_delete("default")
    Run.objects.filter(pk=run.pk).update(status="FAILED", error="boom")
    FlowTotals.objects.filter(flow_name=name).update(failed=1)
    fields = {"reason": "rejected", "error": "Traceback: boom", "deliveries": 1, **fields}
    return DeadLetter.objects.create(
        run=run,
        step=run.flow_version.steps.get(position=step),
        body=message.body,
        dead_at=timezone.now(),
        **fields,
    )


def ids(client, path=PATH, **query):
    response = client.get(path, query)
    assert response.status_code == 200, response.content
    return [letter["id"] for letter in response.json()["results"]]


def reprocess(client, letter, body=None, **more):
    path = f"{PATH}/{getattr(letter, 'pk', letter)}/reprocess"
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body)
    return client.post(path, raw, content_type="application/json", **more)


def discard(client, letter):
    return client.delete(f"{PATH}/{getattr(letter, 'pk', letter)}")


@pytest.fixture
def operator(client, user, flow):
    grant(user, Right.OPERATE, flow)
    return client


def test_letters_of_what_was_renamed_are_found_by_both_names(client, user, flow):
    grant(user, Right.OPERATE)
    old = make_dead_letter()
    flow.name = "credit"
    flow.save()
    queue = Queue.objects.get(name="loan queue 2")
    queue.name = "credits"
    queue.save()
    new = make_dead_letter("credit")

    for query, letters in (
        ({"flowName": "credit"}, [new, old]),
        ({"flowName": "loan"}, [old]),
        ({"queue": "credits"}, [new, old]),
        ({"queue": "loan queue 2"}, [old]),
        ({"flowName": "other"}, []),
    ):
        assert ids(client, **query) == [letter.pk for letter in letters], query
        body = {"filter": query, "dryRun": True}
        many = client.post(f"{PATH}/reprocess", body, content_type="application/json")
        assert many.json()["matched"] == len(letters), query


class TestListed:
    def test_dead_letter_is_shown_with_its_payload_digit_for_digit(self, operator):
        digits = "1" * 300
        letter = make_dead_letter(payload=f'{{"n": {digits}, "x": 1.10, "payload": {{}}}}'.encode())

        response = operator.get(PATH)

        assert f'"payload":{{"n": {digits}, "x": 1.10, "payload": {{}}}}' in response.text
        letter.body = '{"payload": {"a": 1}, "extra": 2}'
        letter.save()
        letter.refresh_from_db()
        [shown] = operator.get(PATH).json()["results"]
        assert shown.pop("deadAt").endswith("Z")
        assert shown == {
            "id": letter.pk,
            "correlationId": str(letter.run_id),
            "queueName": "loan queue 2",
            "flowName": "loan",
            "stepName": "step 2",
            "error": "Traceback: boom",
            "payload": {"a": 1},
            "deliveries": 1,
            "reason": "rejected",
            "causeCode": None,
            "code": None,
            "details": None,
            "reprocessedAt": None,
        }
        assert operator.get(f"{PATH}/{letter.pk}").json() == shown | {
            "deadAt": rfc3339(letter.dead_at)
        }

    def test_open_ones_are_listed_the_newest_first(self, operator):
        letters = [make_dead_letter() for _ in range(2)]
        make_dead_letter(reprocessed_at=timezone.now())
        make_dead_letter(discarded_at=timezone.now())

        assert ids(operator) == [letters[1].pk, letters[0].pk]

    def test_filters_by_flow_queue_and_reason(self, client, user, flow):
        make_loan_flow("other")
        grant(user, Right.WATCH, None)
        first, second = make_dead_letter(step=0), make_dead_letter(reason="exhausted")
        other = make_dead_letter("other")

        assert ids(client, flowName="other") == [other.pk]
        assert ids(client, queue="loan queue 1") == [first.pk]
        assert ids(client, reason="exhausted") == [second.pk]
        assert ids(client, flowName="unknown") == []

    def test_those_of_a_run_are_found_by_its_id(self, operator):
        letter = make_dead_letter()
        make_dead_letter()

        assert ids(operator, correlationId=letter.run_id) == [letter.pk]
        assert_problem(operator.get(PATH, {"correlationId": "x"}), 400, "query-invalid")

    def test_one_is_shown_after_it_was_reprocessed_and_not_after_it_was_discarded(self, operator):
        decided = [make_dead_letter(**{f"{verb}_at": timezone.now()}) for verb in VERBS]

        shown, gone = (operator.get(f"{PATH}/{letter.pk}") for letter in decided)

        assert shown.json()["reprocessedAt"] == rfc3339(decided[0].reprocessed_at)
        assert_problem(gone, 404, "not-found")

    def test_the_code_and_details_of_a_rejection_are_shown_and_filtered_by(self, operator):
        make_dead_letter()
        make_dead_letter(code="E6")
        letter = make_dead_letter(code="E5", details='{"total": 1.10}')

        response = operator.get(PATH, {"code": "E5"})

        [shown] = response.json()["results"]
        assert (shown["id"], shown["code"]) == (letter.pk, "E5")
        assert '"details":{"total": 1.10}' in response.text
        body = {"filter": {"code": "E5"}, "dryRun": True}
        many = operator.post(f"{PATH}/reprocess", body, content_type="application/json")
        assert many.json()["matched"] == 1

    def test_pages_follow_each_other_by_next(self, operator):
        letters = [make_dead_letter() for _ in range(3)]

        with mock.patch("flows.api.pages.PAGE_SIZE", 2):
            first = operator.get(PATH, {"flowName": "loan"}).json()
            second = operator.get(first["next"]).json()

        assert [letter["id"] for letter in first["results"]] == [letters[2].pk, letters[1].pk]
        assert [letter["id"] for letter in second["results"]] == [letters[0].pk]
        assert "flowName=loan" in first["next"]
        assert second["next"] is None

    def test_page_ends_early_where_messages_are_large(self, operator):
        letters = [make_dead_letter(payload=b'{"a": "%s"}' % (b"x" * 400)) for _ in range(3)]

        with mock.patch("flows.api.dead_letters.PAGE_BYTES", 100):
            pages = [operator.get(PATH).json()]
            while following := pages[-1]["next"]:
                pages.append(operator.get(following).json())

        shown = [[letter["id"] for letter in page["results"]] for page in pages]
        assert shown == [[letter.pk] for letter in reversed(letters)]

    @pytest.mark.parametrize("right", [Right.WATCH, Right.OPERATE])
    def test_who_watches_or_operates_sees_those_of_the_flow(self, client, user, flow, right):
        make_loan_flow("other")
        grant(user, right, flow)
        letter = make_dead_letter()
        make_dead_letter("other")

        assert ids(client) == [letter.pk]

    def test_who_may_only_start_sees_none(self, client, user, flow):
        grant(user, Right.START, flow)
        make_dead_letter()

        assert ids(client) == []

    @pytest.mark.parametrize(
        "query", ["reason=bad", "queue=", "flowName=", "cursor=x", "cursor=YQ", "x=1"]
    )
    def test_wrong_query_is_refused(self, operator, query):
        assert_problem(operator.get(f"{PATH}?{query}"), 400, "query-invalid")

    def test_number_of_queries_does_not_grow(self, operator, django_assert_max_num_queries):
        for _ in range(5):
            make_dead_letter()
        operator.get(PATH)

        with django_assert_max_num_queries(4):
            operator.get(PATH)

    def test_other_refusals(self, anonymous, operator):
        assert_problem(anonymous.get(PATH), 401, "not-authenticated")
        assert_problem(operator.delete(PATH), 405, "method-not-allowed")

    @pytest.mark.parametrize(
        ("body", "payload"),
        [
            ('{"correlationId":"x","payload":{"a":"}\\"]"},"b":1}', '{"a":"}\\"]"}'),
            ('{"a": {"payload": 1}, "payload" : 7.50 }', "7.50"),
            ('{"a": "payload", "b": ["payload", {}], "payload": [1, {}]}', "[1, {}]"),
            ("{}", None),
        ],
    )
    def test_payload_is_found_in_its_envelope(self, body, payload):
        assert payload_of(body) == payload


class TestReprocessed:
    def test_run_goes_on_at_the_failed_step(self, operator, user):
        letter = make_dead_letter()

        response = reprocess(operator, letter)

        assert response.status_code == 202
        url = f"http://testserver/async/api/runs/{letter.run_id}"
        assert response["Location"] == url
        assert response.json() == {
            "correlationId": str(letter.run_id),
            "flowName": "loan",
            "status": "RUNNING",
            "statusUrl": url,
        }
        message = Message.objects.get()
        assert message.step == letter.step
        assert message.body == letter.body
        letter.refresh_from_db()
        assert letter.reprocessed_by == user

    def test_another_payload_takes_the_place_of_the_first(self, operator):
        number = 2**80

        response = reprocess(operator, make_dead_letter(), {"payload": {"amount": number}})

        assert response.status_code == 202
        assert json.loads(Message.objects.get().body)["payload"] == {"amount": number}

    def test_another_payload_travels_as_the_text_that_came(self, operator):
        payload = '{"total": 1.10, "huge": 12345678901234567890.50, "a\\u00e4": -0}'

        reprocess(operator, make_dead_letter(), f'{{"reason": "r", "payload": {payload}}}'.encode())

        assert payload in Message.objects.get().body

    @pytest.mark.parametrize("payload", ["[1.0, {}]", "5.0", "null", '{"a": 1.0}'])
    def test_what_a_join_was_given_gives_way_to_any_value(self, operator, payload):
        letter = make_dead_letter()
        DeadLetter.objects.update(body='{"correlationId":"x","payload":[1, 2]}')

        assert reprocess(operator, letter, f'{{"payload":{payload}}}'.encode()).status_code == 202

        assert Message.objects.get().body == f'{{"correlationId":"x","payload":{payload}}}'

    def test_place_of_what_is_wrong_in_another_payload_is_named(self, operator):
        body = b'{"payload": {"a": [{"b": 1, "b": 2}]}}'

        document = assert_problem(
            reprocess(operator, make_dead_letter(), body), 400, "payload-invalid"
        )

        assert document["errors"][0]["path"] == "$.payload.a[0].b"

    def test_newest_script_is_taken_if_asked_for(self, operator, flow):
        letters = [make_dead_letter(), make_dead_letter()]
        script = flow.steps.last().script
        script.code = "def run(message, context): return 1"
        script.save()

        assert reprocess(operator, letters[0], {"newestScript": False}).status_code == 202
        assert reprocess(operator, letters[1], {"newestScript": True}).status_code == 202

        versions = [Run.objects.get(pk=letter.run_id).flow_version.number for letter in letters]
        assert versions == [1, 2]
        run = operator.get(f"/async/api/runs/{letters[1].run_id}").json()
        assert run["currentStep"] == "step 2"

    @pytest.mark.parametrize(
        "body",
        [
            {"newest_script": True},
            {"scriptVersion": "newest"},
            {"latest": True},
            {"script": "newest"},
            {"Script": "newest"},
        ],
    )
    def test_a_wrong_name_of_the_newest_script_is_refused_with_the_right_one(self, operator, body):
        one = assert_problem(reprocess(operator, make_dead_letter(), body), 400, "payload-invalid")
        many = assert_problem(
            operator.post(
                "/async/api/dead-letters/reprocess",
                {"filter": {}} | body,
                content_type="application/json",
            ),
            400,
            "payload-invalid",
        )

        for problem in (one, many):
            [fault] = problem["errors"]
            assert fault["path"] == f"$.{next(iter(body))}"
            assert '"newestScript": true' in fault["detail"]

    def test_second_time_is_a_conflict(self, operator):
        letter = make_dead_letter()
        reprocess(operator, letter)

        assert_problem(reprocess(operator, letter), 409, "already-reprocessed")
        assert Message.objects.count() == 1

    def test_full_queue_refuses_and_the_letter_stays(self, operator):
        letter = make_dead_letter()
        Queue.objects.filter(name="loan queue 2").update(size=1)
        assert reprocess(operator, make_dead_letter()).status_code == 202

        response = reprocess(operator, letter)

        assert_problem(response, 429, "queue-full")
        assert response["Retry-After"]
        assert ids(operator) == [letter.pk]

    def test_step_that_no_longer_exists_is_a_conflict(self, operator, flow):
        letter = make_dead_letter()
        flow.steps.last().delete()

        document = reprocess(operator, letter, {"newestScript": True})

        assert_problem(document, 409, "flow-not-runnable")

    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"[]",
            b'{"payload": NaN}',
            {"payload": 1},
            {"payload": None},
            {"payload": {"a": "\0"}},
            {"script": "other"},
            {"x": 1},
        ],
    )
    def test_wrong_body_is_refused(self, operator, body):
        assert_problem(reprocess(operator, make_dead_letter(), body), 400, "payload-invalid")
        assert not Message.objects.exists()

    def test_body_is_held_to_the_limit(self, operator, settings):
        letter = make_dead_letter()
        settings.ASYNCENGINE_MAX_PAYLOAD_BYTES = 10

        response = reprocess(operator, letter, {"payload": {"a": "xxxxxx"}})

        assert_problem(response, 413, "payload-too-large")

    def test_it_takes_the_right_to_operate(self, client, user, flow):
        grant(user, Right.WATCH, flow)
        grant(user, Right.START, flow)

        assert_problem(reprocess(client, make_dead_letter()), 403, "no-role")

    def test_superuser_needs_no_role(self, admin, flow):
        assert reprocess(client_of(admin), make_dead_letter()).status_code == 202

    @pytest.mark.parametrize("id", ["0", "9" * 30, "x", "-1"])
    def test_unknown_dead_letter_is_not_found(self, operator, id):
        assert_problem(reprocess(operator, id), 404, "not-found")

    def test_discarded_dead_letter_is_not_found(self, operator):
        assert_problem(
            reprocess(operator, make_dead_letter(discarded_at=timezone.now())), 404, "not-found"
        )

    def test_other_refusals(self, anonymous, operator):
        letter = make_dead_letter()

        assert_problem(reprocess(anonymous, letter), 401, "not-authenticated")
        assert_problem(operator.get(f"{PATH}/{letter.pk}/reprocess"), 405, "method-not-allowed")


class TestDiscarded:
    def test_discarded_dead_letter_is_gone(self, operator, user):
        letter = make_dead_letter()

        response = discard(operator, letter)

        assert response.status_code == 204
        assert response.content == b""
        letter.refresh_from_db()
        assert letter.discarded_by == user
        assert ids(operator) == []

    def test_second_time_is_not_found(self, operator):
        letter = make_dead_letter()
        discard(operator, letter)

        assert_problem(discard(operator, letter), 404, "not-found")

    def test_one_that_was_reprocessed_is_a_conflict(self, operator):
        letter = make_dead_letter()
        reprocess(operator, letter)

        assert_problem(discard(operator, letter), 409, "already-reprocessed")

    def test_it_takes_the_right_to_operate(self, client, user, flow):
        grant(user, Right.WATCH, flow)

        assert_problem(discard(client, make_dead_letter()), 403, "no-role")

    def test_other_refusals(self, anonymous, operator):
        letter = make_dead_letter()

        assert_problem(discard(anonymous, letter), 401, "not-authenticated")
        assert_problem(discard(operator, 0), 404, "not-found")
        assert_problem(operator.put(f"{PATH}/{letter.pk}"), 405, "method-not-allowed")

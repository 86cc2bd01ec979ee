from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from openapi_spec_validator import OpenAPIV31SpecValidator

from flows import engine
from flows.api.openapi.examples import REPROCESSING_REQUEST
from flows.api.reprocessings import BODY
from flows.models import AuditEntry, DeadLetter, Flow, Message, Reprocessing, Right, Run
from flows.tasks.reprocessing import advance
from tests.integration.api.helpers import assert_problem, client_of, grant, make_loan_flow

PATH = "/async/api/dead-letters/reprocess"
pytestmark = pytest.mark.django_db


def make_dead_letters(flow: Flow, count: int) -> None:
    for _ in range(count):
        run_id = engine.start(flow.name, {}).correlation_id
        message = Message.objects.get(pk=run_id)
        DeadLetter.objects.create(
            run_id=run_id,
            step=message.step,
            reason=DeadLetter.Reason.EXHAUSTED,
            error="no luck",
            body=message.body,
            deliveries=5,
            dead_at=timezone.now(),
        )
        Message.objects.filter(pk=message.pk)._raw_delete("default")
        Run.objects.filter(pk=run_id).update(status=Run.Status.FAILED)


def post(client, body):
    return client.post(PATH, body, content_type="application/json")


def test_it_answers_with_counts_before_the_first_is_requeued(client, user, flow):
    grant(user, Right.OPERATE, flow)
    make_dead_letters(flow, 3)

    response = post(client, {"filter": {"flowName": "loan"}, "ratePerSecond": 2.5})

    made = Reprocessing.objects.get()
    assert response.status_code == 202
    assert response.json() == {
        "id": made.pk,
        "state": "RUNNING",
        "matched": 3,
        "reprocessed": 0,
        "completed": 0,
        "failedAgain": 0,
        "steps": [
            {
                "flowName": "loan",
                "stepName": "step 1",
                "queueName": "loan queue 1",
                "matched": 3,
            }
        ],
    }
    assert (made.user, made.rate_per_second, made.stop_after_failures) == (user, 2.5, None)
    assert (made.sample, made.script) == (10, Reprocessing.ScriptChoice.OWN)
    advance(made.pk, made.fencing_token)
    assert DeadLetter.objects.filter(reprocessed_by=user).count() == 2


def test_every_option_is_taken(client, user, flow):
    grant(user, Right.OPERATE)

    post(
        client,
        {
            "filter": {
                "queue": "loan queue 1",
                "reason": "rejected",
                "deadAfter": "2026-11-01T00:00:00Z",
                "deadBefore": "2026-11-02t00:00:00.5+01:00",
            },
            "stopAfterFailures": 5,
            "sample": 0,
            "newestScript": True,
            "dryRun": False,
        },
    )

    made = Reprocessing.objects.get()
    assert made.filter == {
        "queue": "loan queue 1",
        "reason": "rejected",
        "dead_after": "2026-11-01T00:00:00+00:00",
        "dead_before": "2026-11-02T00:00:00.500000+01:00",
    }
    assert (made.stop_after_failures, made.sample, made.flow_ids) == (5, 0, None)
    assert made.script == Reprocessing.ScriptChoice.NEWEST


def test_a_dry_run_only_counts(client, user, flow):
    grant(user, Right.OPERATE, flow)
    make_dead_letters(flow, 2)

    response = post(client, {"filter": {}, "dryRun": True})

    assert response.status_code == 202
    answer = response.json()
    assert (answer["id"], answer["state"], answer["matched"]) == (None, None, 2)
    assert not Reprocessing.objects.exists()


def test_all_is_every_open_dead_letter(client, user, flow):
    grant(user, Right.OPERATE, flow)
    make_dead_letters(flow, 2)

    answers = [post(client, body) for body in ({"all": True}, {"all": True, "filter": {}})]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert [answer.json()["matched"] for answer in answers] == [2, 2]
    assert [made.filter for made in Reprocessing.objects.all()] == [{}, {}]


def test_flows_that_the_caller_may_not_operate_are_left_out(client, user, flow):
    other = make_loan_flow("other")
    make_dead_letters(flow, 1)
    make_dead_letters(other, 2)
    grant(user, Right.OPERATE, other)
    grant(user, Right.WATCH, flow)

    assert post(client, {"filter": {}}).json()["matched"] == 2
    assert post(client, {"filter": {"flowName": "loan"}}).json()["matched"] == 0
    made = Reprocessing.objects.earliest("pk")
    advance(made.pk, made.fencing_token)

    reprocessed = DeadLetter.objects.exclude(reprocessed_at=None)
    assert {letter.step.flow_version.flow for letter in reprocessed} == {other}
    assert reprocessed.count() == 2


def test_dead_letters_of_deleted_flows_are_for_those_who_may_operate_all(user, admin, flow):
    make_dead_letters(flow, 1)
    grant(user, Right.OPERATE, make_loan_flow("other"))
    Flow.objects.filter(pk=flow.pk).delete()

    counted = {"filter": {"flowName": "loan"}, "dryRun": True}
    assert post(client_of(user), counted).json()["matched"] == 0
    assert post(client_of(admin), counted).json()["matched"] == 1


def test_caller_who_may_operate_nothing_is_refused(client, user, flow):
    grant(user, Right.START)
    grant(user, Right.WATCH)

    assert_problem(post(client, {"filter": {}}), 403, "no-role")


def test_a_login_is_needed(anonymous):
    response = post(anonymous, {"filter": {}})

    assert_problem(response, 401, "not-authenticated")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "$"),
        ({"all": False}, "$"),
        ({"all": True, "filter": {"flowName": "loan"}}, "$.all"),
        ({"filter": None}, "$.filter"),
        ({"filter": {"flow": "loan"}}, "$.filter.flow"),
        ({"filter": {"reason": "bad luck"}}, "$.filter.reason"),
        ({"filter": {"deadAfter": "yesterday"}}, "$.filter.deadAfter"),
        ({"filter": {"deadAfter": "2016-12-31T23:59:60Z"}}, "$.filter.deadAfter"),
        ({"filter": {"deadAfter": "9999-12-31T23:59:59-12:00"}}, "$.filter.deadAfter"),
        ({"filter": {"deadBefore": "0001-01-01T00:00:00+14:00"}}, "$.filter.deadBefore"),
        ({"filter": {}, "ratePerSecond": 0}, "$.ratePerSecond"),
        ({"filter": {}, "ratePerSecond": "10"}, "$.ratePerSecond"),
        ({"filter": {}, "stopAfterFailures": 0}, "$.stopAfterFailures"),
        ({"filter": {}, "stopAfterFailures": 2_000_000_001}, "$.stopAfterFailures"),
        ({"filter": {}, "sample": -1}, "$.sample"),
        ({"filter": {}, "dryRun": "yes"}, "$.dryRun"),
        ({"filter": {}, "rate": 5}, "$.rate"),
    ],
)
def test_a_body_that_is_wrong_is_refused_and_nothing_stored(client, user, flow, body, path):
    grant(user, Right.OPERATE)

    problem = assert_problem(post(client, body), 400, "payload-invalid")

    assert [error["path"] for error in problem["errors"]] == [path]
    assert not Reprocessing.objects.exists()


def test_the_operation_is_documented(anonymous):
    document = anonymous.get("/async/specifications/openapi.json").json()

    OpenAPIV31SpecValidator(document).validate()
    operation = document["paths"][PATH]["post"]
    assert operation["operationId"] == "reprocessDeadLetters"
    assert {"202", "400", "401", "403", "503"} <= set(operation["responses"])
    assert BODY.validator.is_valid(REPROCESSING_REQUEST)


SEEN = "/async/api/reprocessings"


def begun(client, body=None) -> int:
    return int(post(client, body or {"filter": {"flowName": "loan"}}).json()["id"])


def test_reprocessing_is_seen_and_stopped(client, user, flow):
    grant(user, Right.OPERATE, flow)
    make_dead_letters(flow, 3)
    after = "2026-01-01T00:00:00Z"
    first = begun(client, {"filter": {"flowName": "loan", "deadAfter": after}, "sample": 0})
    second = begun(client)

    shown = client.get(f"{SEEN}/{first}").json()
    stopped = client.post(f"{SEEN}/{first}/stop", {"reason": "enough"}, "application/json").json()

    assert shown["filter"] == {"flowName": "loan", "deadAfter": "2026-01-01T00:00:00.000000Z"}
    assert (shown["state"], shown["matched"], shown["startedBy"]) == ("RUNNING", 3, "caller")
    assert stopped == shown | {"state": "STOPPED", "note": "Stopped by caller."}
    assert client.post(f"{SEEN}/{first}/stop").json() == stopped
    listed = client.get(SEEN).json()["results"]
    assert [each["id"] for each in listed] == [second, first]
    assert AuditEntry.objects.get(verb="stop").reason == "enough"


def test_reprocessings_of_others_are_seen_by_operators_of_every_flow_alone(client, user, flow):
    other = User.objects.create_user("other")
    grant(other, Right.OPERATE, flow)
    id = begun(client_of(other))
    grant(user, Right.OPERATE, flow)
    grant(user, Right.WATCH, None)

    def answers() -> list[int]:
        calls = client.get(f"{SEEN}/{id}"), client.post(f"{SEEN}/{id}/stop")
        return [each.status_code for each in calls]

    assert answers() == [404, 404]
    assert client.get(SEEN).json()["results"] == []

    grant(user, Right.OPERATE, None)

    assert answers() == [200, 200]
    assert [each["id"] for each in client.get(SEEN).json()["results"]] == [id]


def test_own_reprocessing_is_not_seen_once_a_right_of_it_is_gone(client, user, flow):
    mapping = grant(user, Right.OPERATE, flow)
    id = begun(client)
    mapping.delete()

    assert_problem(client.get(f"{SEEN}/{id}"), 404, "not-found")

"""The schedules of a flow by the API; who may do it is in test_hidden.py."""

from __future__ import annotations

from typing import Any

import pytest

from flows.models import AuditEntry, FlowSchedule, Right
from tests.integration.api.helpers import assert_problem, grant

NIGHTLY = "/async/api/flows/loan/schedules/nightly"
CRON = '{"cron": "0 1 * * *"}'
DEFAULTS = {
    "flowName": "loan",
    "name": "nightly",
    "active": True,
    "cron": "0 1 * * *",
    "timeZone": "UTC",
    "payload": {},
    "labels": {},
    "priority": 4,
    "missed": "one",
    "overlap": "start",
    "jitterSeconds": 0.0,
    "lastTime": None,
    "lastCorrelationId": None,
    "problem": None,
}


@pytest.fixture
def put(client, user, flow) -> Any:
    grant(user, Right.CONFIGURE, flow)
    grant(user, Right.OPERATE, flow)

    def put(body: str, path: str = NIGHTLY) -> Any:
        return client.put(path, body, content_type="application/json")

    return put


def test_a_schedule_is_made_replaced_as_a_whole_and_removed(client, put):
    made = put(
        '{"cron": "0 1 * * *", "timeZone": "Europe/Berlin", "labels": {"shop": "north"},'
        ' "payload": {"amount": 1234567890123456.780}, "jitterSeconds": 90, "overlap": "skip"}'
    )

    assert made.status_code == 201
    assert b'"amount":1234567890123456.780' in made.content
    assert client.get(NIGHTLY).content == made.content
    assert made.json()["nextAt"]
    replaced = put(CRON)
    assert replaced.status_code == 200
    document = replaced.json()
    assert document.pop("nextAt")
    assert document == DEFAULTS
    assert client.delete(NIGHTLY).status_code == 204
    assert_problem(client.get(NIGHTLY), 404, "not-found")
    assert_problem(client.delete(NIGHTLY), 404, "not-found")
    entries = AuditEntry.objects.filter(kind="schedule").order_by("pk")
    assert [each.verb for each in entries] == ["add", "change", "delete"]
    assert {each.actor for each in entries} == {"caller"}


def test_schedules_are_listed_in_pages_by_name(client, put, flow, monkeypatch):
    monkeypatch.setattr("flows.api.pages.PAGE_SIZE", 2)
    for name in ("b", "a b", "c"):
        assert put(CRON, f"/async/api/flows/loan/schedules/{name}").status_code == 201

    first = client.get("/async/api/flows/loan/schedules").json()
    second = client.get(first["next"]).json()

    names = [each["name"] for each in (*first["results"], *second["results"])]
    assert (names, second["next"]) == (["a b", "b", "c"], None)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("{}", "$"),
        ('{"cron": "0 1 * *"}', "$.cron"),
        ('{"cron": "0 1 * * *", "timeZone": "Europe/Bonn"}', "$.timeZone"),
        ('{"cron": "0 1 * * *", "name": "other"}', "$.name"),
        ('{"cron": "0 1 * * *", "payload": []}', "$.payload"),
        ('{"cron": "0 1 * * *", "labels": {"": "x"}}', "$.labels"),
        ('{"cron": "0 1 * * *", "overlap": "never"}', "$.overlap"),
        ('{"cron": "0 1 * * *", "jitterSeconds": 86401}', "$.jitterSeconds"),
        ('{"cron": "0 1 * * *", "cron": "0 2 * * *"}', ""),
    ],
)
def test_what_is_no_schedule_is_refused_with_its_place(put, body, path):
    response = put(body)

    problem = assert_problem(response, 400, "payload-invalid")
    assert path in [*(each["path"] for each in problem.get("errors", [])), ""]
    assert not FlowSchedule.objects.exists()


@pytest.mark.parametrize(
    "name", ["x" * 101, "%20", "a%00b", "a%07b", "a%2Fb", "a/b", "%20a", "..."]
)
def test_a_name_that_no_schedule_can_have_is_refused(put, name):
    response = put(CRON, f"/async/api/flows/loan/schedules/{name}")

    assert_problem(response, 400, "payload-invalid")


def test_an_older_name_with_a_slash_stays(client, put, flow):
    FlowSchedule.objects.create(flow=flow, name="a/b", cron="0 1 * * *")

    assert put('{"cron": "0 2 * * *"}', "/async/api/flows/loan/schedules/a/b").status_code == 200


def test_a_paused_schedule_starts_nothing_until_it_is_resumed(client, put):
    put(CRON)
    reason = '{"reason": "The bank is closed."}'

    paused = client.post(f"{NIGHTLY}/pause", reason, content_type="application/json").json()
    again = client.post(f"{NIGHTLY}/pause").json()
    resumed = client.post(f"{NIGHTLY}/resume").json()

    assert (paused["active"], paused["nextAt"]) == (False, None)
    assert again == paused
    assert resumed["active"]
    assert resumed["nextAt"]
    entries = AuditEntry.objects.filter(kind="schedule", verb__in=["pause", "resume"])
    assert list(entries.order_by("pk").values_list("verb", "reason")) == [
        ("pause", "The bank is closed."),
        ("resume", ""),
    ]


def test_a_schedule_whose_time_zone_is_gone_is_not_resumed_before_it_is_changed(client, put):
    put(CRON)
    FlowSchedule.objects.update(active=False, time_zone="Europe/Gone")

    refused = assert_problem(client.post(f"{NIGHTLY}/resume"), 400, "payload-invalid")

    assert refused["detail"] == (
        "There is no time zone 'Europe/Gone'."
        " Set the schedule with another cron or timeZone before you resume it."
    )
    assert not FlowSchedule.objects.get().active
    assert not AuditEntry.objects.filter(verb="resume").exists()
    put('{"cron": "0 1 * * *", "active": false}')
    assert client.post(f"{NIGHTLY}/resume").json()["active"]

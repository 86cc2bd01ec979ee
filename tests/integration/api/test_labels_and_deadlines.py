from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from flows import engine, public
from flows.errors import OptionInvalid
from flows.models import Run, RunDeadline, RunLabel
from tests.integration.api.helpers import assert_problem, grant, objects_in

BATCH = "/async/api/start/batch?flowName=loan"
PATHS = ["/async/api/start?flowName=loan", "/async/api/flows/loan/start?", BATCH]


@pytest.fixture
def start(client, user, flow):
    grant(user, flow=flow)

    def post(path: str, query: str, key: str | None = None) -> Any:
        kind = "application/x-ndjson" if path == BATCH else "application/json"
        headers = {} if key is None else {"Idempotency-Key": key}
        return client.post(f"{path}&{query}", b"{}", kind, headers=headers)

    return post


@pytest.mark.parametrize("path", PATHS)
def test_labels_and_deadline_are_kept_with_the_run_and_shown(start, client, path):
    deadline = "2999-01-01T00:00:00Z"

    response = start(
        path, f"label=order:4711&label=at:12:30&label=a%20b:%C3%A4&deadline={deadline}"
    )

    assert response.status_code == 202
    run = Run.objects.get()
    document = client.get(f"/async/api/runs/{run.pk}").json()
    assert document["labels"] == {"order": "4711", "at": "12:30", "a b": "ä"}
    assert document["deadline"] == "2999-01-01T00:00:00.000000Z"
    [listed] = client.get("/async/api/runs").json()["results"]
    assert (listed["labels"], listed["deadline"]) == (document["labels"], document["deadline"])


@pytest.mark.parametrize("path", PATHS)
def test_deadline_in_seconds_counts_from_the_start(start, path):
    begun = timezone.now()

    assert start(path, "deadline=60.5").status_code == 202

    started = RunDeadline.objects.get().at - timedelta(seconds=60.5)
    assert begun <= started <= timezone.now()


WRONG_QUERIES: list[Any] = [
    *((f"label={text}", "label") for text in ("", "order", ":1", "order:", "a:b%00", "a:b%0A")),
    ("label=order:1&label=order:2", "label"),
    (f"label={'k' * 65}:1", "label"),
    (f"label=order:{'v' * 256}", "label"),
    ("&".join(f"label=k{n}:v" for n in range(17)), "label"),
    *((f"deadline={text}", "deadline") for text in ("", "soon", "0", "-1", "1e300", "1e12")),
    *((f"deadline={text}", "deadline") for text in ("2001-01-01T00:00:00Z", "2999-01-01")),
    ("deadline=60&deadline=60", "deadline"),
    ("deadline=60&startAt={soon}", "deadline"),
]


@pytest.mark.parametrize("path", PATHS[1:])
def test_wrong_label_or_deadline_is_refused_and_named(start, path):
    soon = (timezone.now() + timedelta(hours=1)).isoformat().replace("+", "%2B")

    for query, parameter in WRONG_QUERIES:
        response = start(path, query.replace("{soon}", soon))

        if response.status_code == 202:
            # A batch tells it for the line, where it depends on the moment.
            assert response.json()["rejected"][0]["type"].endswith("query-invalid"), query
        else:
            document = assert_problem(response, 400, "query-invalid")
            assert document["errors"][0]["parameter"] == parameter, query
        assert not Run.objects.exists(), query


def test_longest_labels_are_taken(start):
    query = "&".join(f"label={n:064}:{'ä' * 255}" for n in range(16))

    assert start(PATHS[0], query).status_code == 202
    assert RunLabel.objects.count() == 16


@pytest.mark.parametrize(
    "text",
    ["60", "60.5", "1e3", "2.5E%2B1", "2999-01-01T00:00:00Z", "2999-01-01t00:00:00.5%2B0100"],
)
def test_each_deadline_that_is_taken_is_one_of_the_document(start, client, text):
    document = client.get("/async/specifications/openapi.json").json()
    [pattern] = {
        part["schema"]["pattern"]
        for part in objects_in(document)
        if (part.get("name"), part.get("in")) == ("deadline", "query")
    }

    assert start(PATHS[0], f"deadline={text}").status_code == 202
    assert re.search(pattern, unquote(text))


def test_wrong_deadline_is_told_both_that_it_may_be(start):
    assert start(PATHS[0], "deadline=-1").json()["detail"] == (
        "deadline: must be a time as in 2026-11-02T09:30:00Z, or a number of seconds from now,"
        " as in 300"
    )


def test_start_is_repeated_with_labels_in_any_order_and_after_its_deadline(start):
    queries = ["label=a:1&label=b:2&deadline=60", "label=b:2&label=a:1&deadline=60.0"]
    first, second = (start(PATHS[0], query, "order 17") for query in queries)

    assert second["Idempotent-Replayed"] == "true"
    assert second.json()["correlationId"] == first.json()["correlationId"]
    assert RunLabel.objects.count() == 2


def test_start_without_them_asks_nothing_of_their_tables(flow):
    with CaptureQueriesContext(connection) as queries:
        engine.start("loan", b"{}")

    assert not [query for query in queries if re.search("runlabel|rundeadline", query["sql"])]


def test_labels_are_purged_with_their_run(flow):
    run = engine.start("loan", b"{}", labels={"order": "1"}, deadline=timedelta(hours=1))
    engine.cancel(Run.objects.get())

    Run.objects.filter(pk=run.correlation_id).delete()

    assert [RunLabel.objects.count(), RunDeadline.objects.count()] == [0, 0]


@pytest.mark.parametrize(
    "options",
    [
        *({"labels": wrong} for wrong in ("a:b", {"a": 1}, {1: "a"}, {"": "a"}, {"a:b": "c"})),
        *({"deadline": wrong} for wrong in (60, "60", timezone.now().replace(tzinfo=None))),
        {"deadline": timedelta(0)},
        {"deadline": timedelta.max},
    ],
)
def test_python_callers_are_told_what_is_wrong(flow, options):
    with pytest.raises(OptionInvalid, match=r"labels|deadline"):
        public.start("loan", {}, **options)
    assert not Run.objects.exists()

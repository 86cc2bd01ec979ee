"""Every list comes in pages of the size that the caller asks for."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
from django.db.models import QuerySet
from uuid_utils.compat import uuid7

from flows import engine
from flows.dead_letters import DeadLetterFilter
from flows.models import FlowSchedule, Reprocessing, Right, Run, WebhookDelivery
from flows.tasks.reprocessing import reprocess_many
from tests.integration.api.helpers import assert_problem, client_of, grant, make_loan_flow
from tests.integration.api.test_dead_letters import make_dead_letter
from tests.integration.api.test_specification import JSON, operations

LISTS = {
    "/async/api/flows": "name",
    "/async/api/flows/{name}/schedules": "name",
    "/async/api/queues": "name",
    "/async/api/runs": "correlationId",
    "/async/api/runs/{id}/webhooks": "id",
    "/async/api/dead-letters": "id",
    "/async/api/reprocessings": "id",
    "/async/api/auth/tokens": "id",
}


@pytest.fixture
def run(user, flow) -> Run:
    """A run with webhooks, beside others with dead letters; there are three of everything."""
    make_loan_flow("other")
    make_loan_flow("third")
    for number in range(3):
        FlowSchedule.objects.create(flow=flow, name=f"nightly {number}", cron="0 1 * * *")
        make_dead_letter()
        client_of(user)
        reprocess_many(DeadLetterFilter(), user=user)
    run = Run.objects.get(
        pk=engine.start("loan", {}, callback_url="https://caller.example/hook").correlation_id
    )
    engine.cancel(run)
    told = WebhookDelivery.objects.get()
    for _ in range(2):
        told.pk = uuid7()
        told._state.adding = True
        told.save()
    for right in (Right.START, Right.WATCH, Right.OPERATE):
        grant(user, right)
    assert Reprocessing.objects.count() == WebhookDelivery.objects.count() == 3
    return run


def path_of(template: str, run: Run) -> str:
    return template.replace("{name}", "loan").replace("{id}", str(run.pk))


def read(client: Any, path: str, query: str) -> list[list[Any]]:
    """Return the results of all pages, which are found by `next` and `nextCursor` in turn."""
    pages: list[list[Any]] = []
    following: str | None = f"{path}?{query}"
    while following:
        document = client.get(following).json()
        pages.append(document["results"])
        following, cursor = document["next"], document["nextCursor"]
        assert (following is None) == (cursor is None)
        if cursor and len(pages) % 2:
            following = f"{path}?{query}&cursor={quote(cursor)}"
    return pages


@pytest.mark.parametrize("template", LISTS)
def test_pages_have_the_size_that_is_asked_for(client, run, template):
    path, key = path_of(template, run), LISTS[template]

    whole = read(client, path, "")
    singles = read(client, path, "pageSize=1")
    pairs = read(client, path, "pageSize=2")

    everything = [each[key] for page in whole for each in page]
    assert len(everything) == len(set(everything)) >= 3
    for pages, size in ((singles, 1), (pairs, 2)):
        assert [each[key] for page in pages for each in page] == everything
        assert {len(page) for page in pages[:-1]} == {size}
        assert 1 <= len(pages[-1]) <= size


@pytest.mark.parametrize("template", LISTS)
def test_sizes_and_cursors_that_are_none_are_refused(client, run, template):
    path = path_of(template, run)

    for query in (
        "pageSize=0",
        "pageSize=501",
        "pageSize=ten",
        "pageSize=",
        "pageSize=1&pageSize=1",
    ):
        problem = assert_problem(client.get(f"{path}?{query}"), 400, "query-invalid")
        assert problem["errors"][0]["parameter"] == "pageSize", query
    assert_problem(client.get(f"{path}?cursor="), 400, "query-invalid")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/async/api/auth/tokens", "2026-01-01T00:00:00+00:00|\0"),
        ("/async/api/auth/tokens", "2026-01-01T00:00:00|key"),
        *(
            ("/async/api/runs?order=finishedAt", f"{at}|01932f4e-7b8a-7c21-9d5e-3f2a1b4c5d6e")
            for at in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01")
        ),
        ("/async/api/runs", "no id"),
        ("/async/api/dead-letters", "9" * 5_000),
        ("/async/api/dead-letters", "1e3"),
    ],
)
def test_cursor_that_no_page_gave_is_refused(client, run, path, text):
    cursor = urlsafe_b64encode(text.encode()).decode().rstrip("=")
    join = "&" if "?" in path else "?"

    problem = assert_problem(client.get(f"{path}{join}cursor={cursor}"), 400, "query-invalid")
    assert problem["errors"][0]["parameter"] == "cursor"


@pytest.mark.parametrize("name", ["a?b", "a#b", "100%25", "ä b;c"])
def test_next_page_is_found_whatever_the_name_in_its_path_is(admin, name):
    flow = make_loan_flow(name)
    for number in range(3):
        FlowSchedule.objects.create(flow=flow, name=f"nightly {number}", cron="0 1 * * *")

    pages = read(client_of(admin), f"/async/api/flows/{quote(name)}/schedules", "pageSize=1")

    assert [each["name"] for page in pages for each in page] == [f"nightly {n}" for n in range(3)]


@pytest.mark.parametrize("size", [1, 2])
def test_list_goes_on_behind_a_run_that_matches_no_more_while_it_is_read(admin, size):
    make_loan_flow("loan")
    runs = [Run.objects.get(pk=engine.start("loan", {}).correlation_id) for _ in range(4)]
    for each in runs:
        engine.cancel(each)
    first, *others = runs
    in_bulk = QuerySet.in_bulk

    def after_another_change(rows: Any, *ids: Any, **more: Any) -> Any:
        Run.objects.filter(pk=first.pk).update(status=Run.Status.RUNNING, finished_at=None)
        return in_bulk(rows, *ids, **more)

    with mock.patch.object(QuerySet, "in_bulk", after_another_change):
        query = f"order=finishedAt&status=CANCELLED&pageSize={size}"
        pages = read(client_of(admin), "/async/api/runs", query)

    found = [each["correlationId"] for page in pages for each in page]
    assert found == [str(each.pk) for each in others]


def test_document_has_both_parameters_at_every_list(anonymous):
    document = anonymous.get(JSON).json()

    lists = {
        path: {each["name"] for each in operation["parameters"]}
        for (method, path), operation in operations(document).items()
        if "Page" in str(operation["responses"].get("200", {}).get("content"))
    }

    assert lists.keys() == LISTS.keys()
    for path, names in lists.items():
        assert {"pageSize", "cursor"} <= names, path

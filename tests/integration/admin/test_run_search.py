"""The list of runs: search by text, filters with chips, and its pages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from flows import engine
from flows.admin import run_list
from flows.dead_letters import DeadLetterFilter
from flows.models import DeadLetter, Message, Right, RoleMapping, Run, RunTextMark
from flows.monitoring import run_search
from flows.monitoring.run_search import runs_with
from flows.store.bounded import OutOfTime, within
from tests.builders import ECHO, make_flow, run_of, work_until_idle
from tests.waiting import PATIENCE

LIST = "/admin/flows/run/"
PICKY = (
    "def run(message, context):\n"
    "    if message['payload'].get('sku') == 'X-9':\n"
    "        raise ValueError('the warehouse does not know ' + message['payload']['sku'])\n"
    "    message['payload']['invoice'] = 'R-4711'\n"
    "    return message\n"
)


def start(payload, **options) -> Run:
    return run_of(engine.start("flow", payload, **options).correlation_id)


def found(client, **params):
    response = client.get(LIST, params)
    assert response.status_code == 200
    return {run.pk for run in response.context["cl"].result_list}


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Let a search find what there is, however slow the machine is."""
    for name in dir(run_search):
        if name.startswith("SECONDS"):
            monkeypatch.setattr(run_search, name, PATIENCE)


@pytest.fixture
def runs(superuser):
    """Return a run that completed, one that failed, and one that waits."""
    flow = make_flow(codes=[ECHO, PICKY], max_deliveries=1)
    done, failed = start({"order": "Zürich-1"}), start({"sku": "X-9"})
    work_until_idle(flow)
    return done, failed, start({"order": "waits-7"}, user=superuser)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("text", "which"),
    [
        ("the warehouse does not", 1),
        ("THE WAREHOUSE", 1),
        ("X-9", 1),
        ("Zürich-1", 0),
        ("zürich-1", 0),
        ("ZÜRICH", 0),
        ("R-4711", 0),
        ("waits-7", 2),
    ],
)
def test_a_run_is_found_by_text_in_payloads_outputs_and_errors(client, runs, text, which):
    assert found(client, q=text) == {runs[which].pk}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("text", ["nowhere at all", "100%", "_", "50\\"])
def test_text_that_no_run_has_finds_none(client, runs, text):
    assert found(client, q=text) == set()


def test_a_search_follows_the_filters(client, runs):
    assert found(client, q="order", status="COMPLETED") == {runs[0].pk}
    assert found(client, q="order", status="FAILED") == set()


def test_runs_are_found_by_a_label(client, superuser):
    flow = make_flow(codes=[ECHO])
    labelled = [start({}, labels={"order": "47:11", "shop": "A & B"}) for _ in range(2)]
    start({"text": "order:47:1"}, labels={"order": "47:1"})
    work_until_idle(flow)
    both = {run.pk for run in labelled}

    assert found(client, q="order:47:11") == found(client, label="order:47:11") == both
    assert found(client, label="order:47:11", status="FAILED") == set()
    assert found(client, label="order") == found(client, label="order:47") == set()
    page = client.get(f"{LIST}{labelled[0].pk}/change/").context
    urls = {label["text"]: label["url"] for label in page["run_labels"]}
    listed = client.get(urls["shop:A & B"]).context["cl"]
    assert {run.pk for run in listed.result_list} == both
    assert [chip["text"] for chip in listed.run_chips] == ["label: shop:A & B"]


def test_a_text_that_looks_like_a_label_is_found_in_payloads(client, runs):
    done = runs[0]

    assert found(client, q='order":"Zürich-1') == found(client, q="Zürich-1") == {done.pk}


def test_an_id_is_found_with_and_without_dashes(client, runs):
    run = runs[0]

    assert found(client, q=str(run.pk)) == found(client, q=run.pk.hex) == {run.pk}


def test_digits_that_begin_no_id_are_text(client, runs):
    run = start({"number": "deadbeef1234"})

    assert found(client, q="deadbeef1234") == {run.pk}


def test_a_search_that_has_not_looked_everywhere_says_so_and_goes_on(client, runs, monkeypatch):
    monkeypatch.setattr(run_search, "FIRST_BATCH", 1)
    monkeypatch.setattr(run_search, "BATCH", 1)
    monkeypatch.setattr(run_search, "ENOUGH", 1)

    first = client.get(LIST, {"q": "order"})

    assert [run.pk for run in first.context["cl"].result_list] == [runs[2].pk]
    assert "Looked at the newest 1 runs" in first.content.decode()
    second = client.get(LIST + first.context["cl"].run_older_url)
    assert [run.pk for run in second.context["cl"].result_list] == [runs[0].pk]


def test_the_newest_runs_are_found_although_most_of_the_time_is_over(runs, monkeypatch):
    RunTextMark.objects.get_or_create(pk=1, defaults={"seen_at": timezone.now()})
    monkeypatch.setattr(run_search, "SECONDS_FOR_NEWEST", 0.0)

    assert runs_with("waits-7", Run.objects.all(), seconds=PATIENCE).ids == [runs[2].pk]


@pytest.mark.parametrize(("text", "is_told"), [("ab", True), ("abc", False), ("", False)])
def test_a_text_that_is_too_short_is_told(client, runs, text, is_told):
    shown = client.get(LIST, {"q": text}).content.decode()

    assert ("Texts of fewer than 3 characters" in shown) is is_told


def test_dead_letters_are_found_whatever_the_case_of_their_umlauts(client, superuser):
    flow = make_flow(codes=["def run(message, context):\n    raise Reject('Öl')\n"])
    start({"name": "Müller"})
    work_until_idle(flow)

    for text in ("öl", "ÖL", "müller", "MÜLLER", "Müller"):
        assert DeadLetterFilter(text=text).open(None).count() == 1
    assert not DeadLetterFilter(text="muller").open(None).exists()


def test_a_search_without_time_finds_nothing_and_says_so(runs):
    answer = runs_with("order", Run.objects.all(), seconds=0)

    assert (answer.ids, answer.looked_at, answer.is_complete) == ([], 0, False)


def test_a_statement_that_takes_too_long_is_stopped(db):
    endless = (
        "SELECT pg_sleep(30)"
        if connection.vendor == "postgresql"
        else "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n"
    )

    with pytest.raises(OutOfTime), within(0.05), connection.cursor() as cursor:
        cursor.execute(endless)

    assert Run.objects.count() == 0


def test_a_search_takes_the_same_number_of_queries_for_more_runs(client, runs):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            client.get(LIST, {"q": "nowhere at all"})
        return len(captured)

    queries()
    before = queries()
    for _ in range(20):
        start({"order": "more"})

    assert queries() == before


def test_texts_of_runs_that_a_user_does_not_watch_are_not_searched(runs):
    user = User.objects.create_user("starter", is_staff=True)
    role = Group.objects.create(name="starters")
    user.groups.add(role)
    flow = runs[0].flow_version.flow
    RoleMapping.objects.create(role=role, right=Right.START, flow=flow)
    own = start({"order": "secret"}, user=user)
    client = Client()
    client.force_login(user)

    assert found(client) == {own.pk}
    assert found(client, q="secret") == set()
    RoleMapping.objects.create(role=role, right=Right.WATCH, flow=flow)
    assert found(client, q="secret") == {own.pk}


def test_runs_are_found_by_caller_and_by_the_step_that_they_are_at_or_passed(client, runs):
    done, failed, waits = runs

    assert found(client, caller="root") == {waits.pk}
    assert found(client, caller="unknown") == set()
    assert found(client, flow="flow", step="flow-1") == {done.pk, failed.pk}
    assert found(client, flow="flow", step="flow-0") == {done.pk, failed.pk, waits.pk}
    engine.discard(failed.dead_letters.get())
    assert found(client, flow="flow", step="flow-1") == {done.pk, failed.pk}


def test_what_confines_the_list_is_shown_as_chips_that_remove_it(client, runs):
    response = client.get(LIST, {"status": "FAILED", "flow": "flow", "q": "warehouse"})

    chips = {chip["text"]: chip["url"] for chip in response.context["cl"].run_chips}
    assert set(chips) == {"status: FAILED", "flow: flow", "“warehouse”"}
    assert chips["status: FAILED"] == "?flow=flow&q=warehouse"
    assert found(client) == {run.pk for run in runs}


def test_a_row_shows_the_step_and_the_first_line_of_the_error(client, runs):
    rows = {run.pk: run for run in client.get(LIST).context["cl"].result_list}
    content = client.get(LIST).content.decode()

    assert [rows[run.pk].current_step for run in runs] == ["", "flow-1", "flow-0"]
    assert "the warehouse does not know X-9" in content
    assert "Traceback" not in content


def test_pages_go_on_after_the_last_row_without_an_offset(client, runs):
    version = runs[0].flow_version
    now = timezone.now()
    ids = [uuid7() for _ in range(230)]
    Run.objects.bulk_create(
        Run(correlation_id=pk, flow_version=version, created_at=now, status="CANCELLED")
        for pk in ids
    )

    seen, url = [], "?status=CANCELLED"
    with CaptureQueriesContext(connection) as captured:
        while url:
            changes = client.get(LIST + url).context["cl"]
            seen += [run.pk for run in changes.result_list]
            url = changes.run_older_url

    assert seen == sorted(ids, reverse=True)
    assert "OFFSET 100" not in str(captured.captured_queries)


def test_a_filter_that_finds_too_little_in_time_looks_at_the_newest_and_goes_on(
    client, runs, monkeypatch
):
    monkeypatch.setattr(run_list, "NEWEST", 1)
    seconds = iter([0, 5, 0, 5])
    monkeypatch.setattr(run_list, "within", lambda _: within(next(seconds)))
    Run.objects.filter(pk=runs[1].pk).update(status="CANCELLED")

    first = client.get(LIST, {"status": "CANCELLED"})

    changes = first.context["cl"]
    assert changes.result_list == []
    assert "Looked at 1 runs, back to <time datetime=" in first.content.decode()
    second = client.get(LIST + changes.run_older_url)
    assert [run.pk for run in second.context["cl"].result_list] == [runs[1].pk]


def test_failed_runs_before_many_others_are_found_by_their_dead_letters(client, monkeypatch):
    flow = make_flow(codes=[PICKY], max_deliveries=1)
    failed = [start({"sku": "X-9"}) for _ in range(3)]
    work_until_idle(flow)
    waiting = [start({"order": "waits"}) for _ in range(2)]
    monkeypatch.setattr(run_list, "NEWEST", 1)
    monkeypatch.setattr(run_list, "MOST_WITH_LETTERS", 2)
    seconds = iter([0, 5, 5] * 2)
    monkeypatch.setattr(run_list, "within", lambda _: within(next(seconds)))

    first = client.get(LIST, {"status": "FAILED"})

    changes = first.context["cl"]
    assert [run.pk for run in changes.result_list] == [run.pk for run in failed[:0:-1]]
    assert "Looked at 1 runs and those with dead letters" in first.content.decode()
    second = client.get(LIST + changes.run_older_url)
    assert [run.pk for run in second.context["cl"].result_list] == [failed[0].pk]
    assert waiting[0].pk > failed[-1].pk


def test_old_failures_are_found_though_many_runs_came_later(client, runs, monkeypatch):
    monkeypatch.setattr(run_search, "FIRST_BATCH", 1)
    monkeypatch.setattr(run_search, "BATCH", 1)
    monkeypatch.setattr(run_search, "SECONDS", 0)
    DeadLetter.objects.update(dead_at=timezone.now() - timedelta(days=3))

    answer = runs_with("warehouse", Run.objects.all(), seconds=0.5)

    assert answer.ids == [runs[1].pk]
    assert answer.knows_all_letters
    assert Message.objects.exists()

"""Home says what needs an operator, and how flows, queues and workers are doing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_script_prefix
from django.urls import reverse
from django.utils import timezone

from flows import engine
from flows.admin.home import HELP, MOST_FLOWS, _target, number, short
from flows.admin.sparkline import sparkline
from flows.models import (
    Consumer,
    CountsClock,
    DeadLetter,
    Flow,
    FlowTotals,
    Message,
    Queue,
    QueueState,
    RefusedStarts,
    Right,
    RoleMapping,
)
from flows.models.alert import AlertLevel
from flows.monitoring.health import Alarm, Target
from flows.store import store
from flows.tasks.clusters import ClusterStatus
from flows.tasks.conservation import check_and_store
from flows.tasks.counting import count
from tests.builders import ECHO, make_flow, open_lease, work_until_idle

pytestmark = pytest.mark.django_db

REJECT = "def run(message, context):\n    raise Reject('no')\n"
ALIVE = ClusterStatus("cluster", "host", 1, timezone.now(), 2)


@pytest.fixture(autouse=True)
def cluster(monkeypatch):
    """Have a live cluster, whose list a test may change."""
    live = [ALIVE]
    monkeypatch.setattr("flows.tasks.clusters.live_clusters", lambda: live)
    return live


def home(client, **query):
    return client.get(reverse("admin:index"), query)


def live(client, **query):
    return client.get(reverse("admin:flows_home"), query)


def rules(client):
    return [row["alarm"].rule for row in home(client).context["alarms"]]


def row_of(client, flow, **query):
    return next(row for row in home(client, **query).context["flows"] if row["name"] == flow)


def start(flow="flow", times=1):
    for _ in range(times):
        engine.start(flow, {})


def test_an_empty_installation_says_what_to_do_next(client, db):
    content = home(client).content.decode()

    assert "No flow yet" in content
    assert reverse("admin:flows_flow_add") in content
    assert "All is well" in content


def test_an_empty_installation_leads_a_viewer_to_no_page_that_refuses(db):
    client = client_with(Right.WATCH)

    content = home(client).content.decode()

    assert "No flow yet" in content
    assert reverse("admin:flows_flow_add") not in content


def done(client):
    return [task.is_done for task in home(client).context["guide"]]


def test_the_guide_ticks_off_what_is_done_and_ends(client, db):
    before = done(client)
    flow = make_flow(codes=[ECHO])
    made = done(client)
    start()
    started = done(client)
    work_until_idle(flow)
    complete = done(client)
    RoleMapping.objects.create(role=Group.objects.create(name="role"), right=Right.WATCH)

    assert before == [False, False, False, False]
    assert made == [True, False, False, False]
    assert started == [True, True, False, False]
    assert complete == [True, True, True, False]
    assert done(client) == []


def test_every_link_of_the_guide_opens(client, db):
    make_flow(codes=[ECHO])

    for task in home(client).context["guide"]:
        assert client.get(task.url).status_code == 200, task.title


def test_a_flow_without_steps_is_not_a_flow_yet(client, db):
    flow = Flow.objects.create(name="empty")

    task = home(client).context["guide"][0]

    assert not task.is_done
    assert task.url == reverse("admin:flows_flow_change", args=[flow.pk])


def test_the_guide_is_for_users_who_configure_every_flow():
    make_flow("secret", codes=[ECHO])
    client = client_with(Right.WATCH, "secret")

    assert home(client).context["guide"] == []


def test_a_flow_has_its_curve_and_figures(client):
    flow = make_flow(codes=[ECHO])
    start(times=3)
    work_until_idle(flow)
    start(times=2)
    count()

    for period in ("hour", "day", "week"):
        row = row_of(client, "flow", period=period)
        assert (row["started"], row["completed"], row["failed"]) == ("5", "3", "0")
        assert (row["waiting"], row["running"], row["dead"]) == ("2", "0", "0")
        assert 'class="spark-completed"' in row["curve"]
    assert row["oldest"]


def test_what_runs_is_told_from_what_waits(client):
    make_flow(codes=[ECHO], threads=2)
    start(times=5)
    lease = open_lease("flow-0", threads=2)
    store().claim(lease, lambda plan, threads: 2, 0)

    row = row_of(client, "flow")

    assert (row["waiting"], row["running"]) == ("3", "2")
    [queue] = home(client).context["queues"]
    assert (queue["taken"], queue["busy"], queue["threads"]) == ("5", "2", "2")
    [cluster] = home(client).context["clusters"]
    assert cluster["sessions"][0]["text"] == "flow / flow-0"


def test_dead_letters_raise_an_alarm_with_a_link_until_they_are_decided(client):
    flow = make_flow(codes=[REJECT])
    start(times=2)
    work_until_idle(flow)
    count()

    [row] = home(client).context["alarms"]
    assert "2 dead letters of the flow flow" in row["alarm"].sentence
    assert "flow=flow" in row["url"]
    assert client.get(row["url"]).status_code == 200
    assert row_of(client, "flow")["dead"] == "2"

    for letter in DeadLetter.objects.open():
        engine.discard(letter)
    assert rules(client) == []
    assert row_of(client, "flow")["dead"] == "0"


def test_dead_letters_of_a_deleted_flow_stay_on_home(client):
    flow = make_flow(codes=[REJECT])
    start(times=2)
    work_until_idle(flow)
    count()
    Flow.objects.filter(pk=flow.pk).delete()
    make_flow("other", codes=[ECHO])

    content = home(client).content.decode()
    [row] = home(client).context["alarms"]
    assert "2 dead letters of the former flow flow" in row["alarm"].sentence
    assert "2 dead letters of the former flow flow" in content
    [letters] = [each for each in home(client).context["figures"] if each["name"] == "Dead letters"]
    assert letters["value"] == "2"
    assert client.get(row["url"]).context["cl"].result_count == 2

    for letter in DeadLetter.objects.open():
        engine.discard(letter)
    assert rules(client) == []


def rename_with_letters() -> None:
    """Make a flow with two dead letters, and give it the name `renamed`."""
    flow = make_flow(codes=[REJECT])
    start(times=2)
    work_until_idle(flow)
    count()
    flow.name = "renamed"
    flow.save()


def test_a_renamed_flow_keeps_its_dead_letters_and_its_curve(client):
    rename_with_letters()

    for viewer in (client, client_with(Right.WATCH, "renamed")):
        row = row_of(viewer, "renamed")
        assert (row["started"], row["failed"], row["dead"]) == ("2", "2", "2")
        [alarm] = home(viewer).context["alarms"]
        assert "2 dead letters of the flow renamed" in alarm["alarm"].sentence
        assert viewer.get(alarm["url"]).context["cl"].result_count == 2


def test_a_name_that_another_flow_has_now_brings_it_nothing_of_the_renamed_one(client):
    rename_with_letters()
    make_flow("other", codes=[ECHO])
    Flow.objects.filter(name="other").update(name="flow")

    rows = {row["name"]: row["dead"] for row in home(client).context["flows"]}

    # The counts of a name are those of the flow that has it.
    assert rows == {"renamed": "0", "flow": "2"}


def test_a_full_queue_behind_the_first_step_refuses_no_starts(client):
    make_flow(codes=[ECHO, ECHO])
    Queue.objects.update(size=10)
    QueueState.objects.update(depth=10)

    advice = {row["alarm"].queue: row["alarm"].advice for row in home(client).context["alarms"]}

    assert "starts are refused with 429. " in advice["flow-0"]
    assert "429" not in advice["flow-1"]
    assert "the steps before it wait. " in advice["flow-1"]


def test_a_run_that_is_reprocessed_ends_again_for_the_alarm_and_the_figures(client):
    flow = make_flow(codes=[REJECT])
    start(times=5)
    work_until_idle(flow)
    count()
    script = flow.steps.get().script
    script.code = ECHO
    script.save()
    for letter in DeadLetter.objects.open():
        engine.reprocess(letter, newest_script=True)
    work_until_idle(flow)
    CountsClock.objects.update(sampled_at=None)
    count()

    [row] = home(client).context["alarms"]
    figures = {each["name"]: each["value"] for each in home(client).context["figures"]}

    assert "5 of 10 ends of runs in the last hour were failures, 50.0%" in row["alarm"].sentence
    assert (figures["Started"], figures["Completed"], figures["Failed"]) == ("5", "5", "5")


def test_a_queue_that_stands_still_raises_an_alarm_and_one_that_moves_does_not(client):
    flow = make_flow(codes=[ECHO])
    start()
    Message.objects.update(available_at=timezone.now() - timedelta(hours=1))

    assert rules(client) == ["queue-standing-still"]
    engine.pause(flow)
    assert rules(client) == []
    engine.resume(flow)
    open_lease("flow-0")
    assert rules(client) == []


def test_workers_that_are_gone_raise_an_alarm_and_a_live_consumer_is_proof_of_one(client, cluster):
    cluster.clear()
    make_flow(codes=[ECHO])

    assert rules(client) == ["workers-gone"]
    open_lease("flow-0")
    assert rules(client) == []
    Consumer.objects.update(heartbeat_at=timezone.now() - timedelta(hours=1))
    assert rules(client) == ["workers-gone"]


@pytest.mark.parametrize("rule", HELP)
def test_an_alarm_without_a_page_of_its_own_leads_to_the_documentation(client, db, rule):
    alarm = Alarm(rule, AlertLevel.WARNING, "So it is.", "Do this.", Target.HELP)

    page, _, part = _target(alarm, {}).partition("#")

    assert f'id="{part}"' in client.get(page).content.decode()


def test_a_full_queue_comes_first_by_its_proportion(client):
    make_flow("big", codes=[ECHO], size=20_000)
    make_flow("small", codes=[ECHO], size=5)
    start("big", 55)
    start("small", 5)

    context = home(client).context

    assert [queue["name"] for queue in context["queues"]] == ["small-0", "big-0"]
    assert [row["alarm"].queue for row in context["alarms"]] == ["small-0"]


def test_the_background_check_stores_faults_and_recounts_open_letters(client):
    flow = make_flow(codes=[REJECT])
    start(times=2)
    work_until_idle(flow)
    FlowTotals.objects.update(letters_made=9)
    assert check_and_store() == 0
    assert FlowTotals.objects.get().open_letters == 2
    QueueState.objects.update(depth=4)

    assert check_and_store() == 1
    assert "conservation" in rules(client)


def test_a_user_sees_home_of_the_flows_of_their_roles(cluster):
    for name in ("mine", "secret"):
        flow = make_flow(name, codes=[REJECT])
        start(name)
        work_until_idle(flow)
        start(name)
    count()
    QueueState.objects.update(depth=4)
    check_and_store()
    open_lease("secret-0")
    client = client_with(Right.WATCH, "mine")

    for response in (home(client), live(client)):
        content = response.content.decode()
        assert "mine" in content
        assert "secret" not in content
    context = home(client).context
    assert [row["alarm"].flow for row in context["alarms"]] == ["mine"]
    assert {figure["name"]: figure["value"] for figure in context["figures"]}["Started"] == "2"


def test_the_curves_that_all_share_show_a_user_no_flow_of_others(client):
    for name in ("mine", "secret"):
        make_flow(name, codes=[ECHO])
        start(name)
    count()
    assert {row["name"] for row in live(client).context["flows"]} == {"mine", "secret"}
    watcher = client_with(Right.WATCH, "mine")

    with CaptureQueriesContext(connection) as caught:
        response = live(watcher)

    assert not [each for each in caught.captured_queries if "countblock" in each["sql"]]
    assert [(row["name"], row["started"]) for row in response.context["flows"]] == [("mine", "1")]
    assert "secret" not in response.content.decode()
    with CaptureQueriesContext(connection) as caught:
        again = live(watcher)
    assert again.content == response.content
    assert len(caught) == 3, "the session, the user and the rights"


def test_a_worker_that_is_busy_with_flows_of_others_is_not_said_to_wait():
    for name in ("mine", "secret"):
        make_flow(name, codes=[ECHO])
    open_lease("secret-0")

    content = home(client_with(Right.WATCH, "mine")).content.decode()

    assert "Busy with flows that you do not see" in content
    assert "Waits for messages" not in content


@pytest.mark.parametrize("right", [Right.START, None])
def test_a_user_who_watches_nothing_sees_no_figures(right):
    make_flow("secret", codes=[ECHO])
    client = client_with(right, "secret")

    for response in (home(client), live(client)):
        assert response.status_code == 200
        assert "Welcome" in response.content.decode()
        assert "secret" not in response.content.decode()


def client_with(right, flow_name=None):
    """Return the client of a user with the right to the flow, or to every one."""
    user = User.objects.create_user("staff", is_staff=True)
    if right:
        role = Group.objects.create(name="role")
        flow = Flow.objects.get(name=flow_name) if flow_name else None
        RoleMapping.objects.create(role=role, right=right, flow=flow)
        user.groups.add(role)
    client = Client()
    client.force_login(user)
    return client


def test_the_live_part_needs_a_login_and_is_a_part_alone(client, db):
    make_flow()

    assert Client().get(reverse("admin:flows_home")).status_code == 302
    content = live(client, period="week").content.decode()
    assert "<html" not in content
    assert 'aria-current="true">Last week' in content
    assert live(client, period="nonsense", all="x").status_code == 200


def test_a_shared_part_has_links_below_the_path_that_each_came_by(client, db):
    make_flow("flow")
    direct = live(client).content.decode()

    url = reverse("admin:flows_home")
    with override_script_prefix("/engine/"):
        below = client.get(url).content.decode()

    assert 'href="/admin/flows/flow/' in direct
    assert 'href="/engine/admin/flows/flow/' in below
    assert 'href="/admin/' not in below


def test_the_page_loads_the_live_part_by_its_address(client, db):
    content = home(client, period="day").content.decode()

    assert f'hx-get="{reverse("admin:flows_home")}?period=day"' in content
    assert "flows/live.js" in content


@pytest.mark.long
def test_the_number_of_queries_does_not_grow_with_the_flows(client, django_assert_max_num_queries):
    for place in range(MOST_FLOWS + 5):
        make_flow(f"flow-{place}", codes=[ECHO, ECHO])
        start(f"flow-{place}")
    Message.objects.update(available_at=timezone.now() - timedelta(hours=1))
    count()
    open_lease("flow-0-0")

    with django_assert_max_num_queries(28):
        response = live(client)

    assert response.context["more_flows"] == 5
    assert len(live(client, all="1").context["flows"]) == MOST_FLOWS + 5


def test_a_flow_that_is_called_like_a_queue_leads_to_the_flow(client, db):
    make_flow("a", codes=[ECHO])
    flow = make_flow("queue a-0", codes=[ECHO])

    assert row_of(client, "queue a-0")["url"] == reverse("admin:flows_flow_change", args=[flow.pk])


def test_numbers_and_times_are_short():
    assert [number(n) for n in (0, 99_999, 123_456, 12_345_678)] == ["0", "99,999", "123k", "12.3M"]
    texts = [short(s) for s in (0.0004, 0.25, 1.25, 42, 600, 7500, 200_000)]
    assert texts == ["0 ms", "250 ms", "1.2 s", "42 s", "10 min", "2 h", "2 d"]


def test_a_curve_without_events_is_a_flat_line_and_one_failure_is_seen():
    assert "spark-none" in sparkline([0] * 60, [0] * 60, [0] * 60)
    assert "spark-failed" in sparkline([10_000] * 3, [10_000] * 3, [0, 1, 0])


def test_refused_starts_are_shown_with_their_cause_on_home_and_on_the_flow(client, db):
    flow = make_flow(codes=[ECHO])
    minute = timezone.now().replace(second=0, microsecond=0)
    for cause, refused in (("full", 12), ("payload", 3)):
        RefusedStarts.objects.create(minute=minute, flow_name=flow.name, cause=cause, count=refused)

    shown = home(client)
    steps = client.get(reverse("admin:flows_flow_live_steps", args=[flow.pk]))

    assert shown.context["flows"][0]["refused"] == "15"
    words = "12 by a full queue, 3 by the payload"
    assert words in shown.content.decode()
    assert words in steps.content.decode()

"""The page of one run: its time line, what its steps got and gave, and starting it again."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from flows import engine
from flows.models import DeadLetter, Flow, Message, Queue, Right, RoleMapping, Run, StepRun
from flows.models.keep import Keep
from flows.monitoring import conservation
from flows.monitoring.run_story import BACK_OFF, DEAD, RAN, WAITED, run_story
from flows.monitoring.trace import trace
from flows.store.waiting import waiting_again
from tests.builders import ECHO, RAISING, TRAIL, make_flow, run_of, work_until_idle
from tests.integration.admin.pages import act_on, answer_dialog, messages_of

PICKY = (
    "def run(message, context):\n"
    "    if 'fixed' not in message['payload']:\n"
    "        raise Reject('broken')\n"
    "    return message\n"
)
SPLIT = (
    "def run(message, context):\n"
    "    id = context.correlation_id\n"
    "    return [{'correlationId': id, 'payload': {'n': n}} for n in range(3)]\n"
)


def page_of(run):
    return reverse("admin:flows_run_change", args=[run.pk])


def start(payload=None, flow="flow") -> Run:
    return run_of(engine.start(flow, payload or {"n": 1}).correlation_id)


def bodies(client, response, use) -> list[object]:
    """Return what the page's steps got or gave, as the viewer loads it; None: nothing to load."""
    found = []
    for step in response.context["run_steps"]:
        url = (step[use] or {}).get("url")
        text = url and client.get(url).content
        found.append(json.loads(text)["payload"] if text else None)
    return found


def loaded(client, response):
    """Return the start payload, as the page's viewer loads it."""
    return json.loads(client.get(response.context["run_start_url"]).content)


def make_due() -> None:
    Message.objects.update(available_at=timezone.now() - timedelta(seconds=1))


def test_the_page_has_what_every_step_got_and_gave(client, superuser):
    flow = make_flow(codes=[TRAIL, TRAIL])
    run = start()
    work_until_idle(flow)

    response = client.get(page_of(run))

    one, both = ["flow-0"], ["flow-0", "flow-1"]
    assert bodies(client, response, "input") == [{"n": 1}, {"n": 1, "trail": one}]
    assert bodies(client, response, "output") == [{"n": 1, "trail": one}, {"n": 1, "trail": both}]
    assert loaded(client, response) == {"n": 1}


def outputs(client, response) -> list[Any]:
    """Return what the page's steps gave, as the viewer loads it; None: nothing to load."""
    found = [step["output"] for step in response.context["run_steps"]]
    return [each and json.loads(client.get(each["url"]).content) for each in found]


def test_a_step_that_ends_the_run_gave_its_result_and_one_behind_it_nothing(client, superuser):
    finishing = "def run(message, context):\n    return context.finish({'done': True})\n"
    flow = make_flow(codes=[TRAIL, finishing, ECHO])
    run = start()
    work_until_idle(flow)

    first, second, third = outputs(client, client.get(page_of(run)))

    assert first["payload"] == {"n": 1, "trail": ["flow-0"]}
    assert (second, third) == ({"done": True}, None)


def test_a_step_that_goes_past_others_gave_what_the_later_one_got(client, superuser):
    going = "def run(message, context):\n    return context.go('flow-2', message)\n"
    flow = make_flow(codes=[going, ECHO, TRAIL, ECHO])
    flow.steps.filter(name="flow-0").update(goes_to=["flow-2"])
    run = start()
    work_until_idle(flow)

    first, second, third, _ = outputs(client, client.get(page_of(run)))

    assert (first["payload"], second) == ({"n": 1}, None)
    assert third["payload"] == {"n": 1, "trail": ["flow-2"]}


def test_a_run_that_began_at_a_step_shows_nothing_of_those_before_it(client, superuser):
    flow = make_flow(codes=[ADD, ADD])
    run = start({"order": 7})
    work_until_idle(flow)
    post_unchanged(client, from_step(run, 1))
    again = Run.objects.exclude(pk=run.pk).get()
    work_until_idle(flow)

    assert outputs(client, client.get(page_of(again)))[0] is None


def test_what_waited_when_a_run_was_cancelled_is_shown_and_starts_again(client, superuser):
    flow = make_flow(codes=[TRAIL, TRAIL])
    Queue.objects.filter(name="flow-1").update(paused=True)
    run = start()
    work_until_idle(flow)
    engine.cancel(run)

    response = client.get(page_of(run))

    waited = {"n": 1, "trail": ["flow-0"]}
    assert bodies(client, response, "input") == [{"n": 1}, waited]
    assert bodies(client, response, "output") == [waited, None]
    post_unchanged(client, from_step(run, 1))
    again = Run.objects.exclude(pk=run.pk).get()
    assert json.loads(Message.objects.get(pk=again.pk).body)["payload"] == waited
    assert from_step(run, 1) in response.content.decode()


def test_what_waited_behind_a_choice_of_ways_is_not_taken_for_that_of_the_next_step(client):
    going = "def run(message, context):\n    return context.go('flow-2', message)\n"
    flow = make_flow(codes=[going, ECHO, ECHO])
    flow.steps.filter(name="flow-0").update(goes_to=["flow-2"])
    Queue.objects.filter(name="flow-2").update(paused=True)
    run = start()
    work_until_idle(flow)
    engine.cancel(run)

    assert from_step(run, 1) not in client.get(page_of(run)).content.decode()
    client.post(from_step(run, 1))

    assert Run.objects.count() == 1


def test_labels_and_deadline_are_shown_where_there_are_some(client, superuser):
    make_flow(codes=[ECHO])
    plain = client.get(page_of(start())).content.decode()
    started = engine.start("flow", {}, labels={"order": "<4711>"}, deadline=timedelta(hours=1))

    page = client.get(page_of(Run.objects.get(pk=started.correlation_id))).content.decode()

    assert "<code>order:&lt;4711&gt;</code>" in page
    assert "<dt>Deadline</dt>" in page
    assert "<dt>Labels</dt>" not in plain
    assert "<dt>Deadline</dt>" not in plain


def test_the_start_payload_of_a_run_that_waits_is_shown(client, superuser):
    make_flow(codes=[ECHO])
    run = start({"order": 7})

    response = client.get(page_of(run))

    assert client.get(response.context["run_start_url"]).content == b'{"order":7}'
    assert response.context["run_state"] == "Waits in the queue flow-0"


def test_a_payload_keeps_its_digits(client, superuser):
    make_flow(codes=[ECHO])
    run = run_of(engine.start("flow", b'{"n": 1.10, "big": 123456789012345678901}').correlation_id)

    response = client.get(reverse("admin:flows_run_body", args=[run.pk, "start", "whole"]))

    assert response.content == b'{"n": 1.10, "big": 123456789012345678901}'


def test_a_run_of_a_flow_that_keeps_nothing_says_so(client, superuser):
    flow = make_flow(codes=[ECHO])
    flow.keep = Keep.NOTHING
    flow.save()
    run = start()
    work_until_idle(flow)

    response = client.get(page_of(run))

    assert "the flow keeps no payloads" in response.content.decode()
    assert not response.context["run_start_url"]


def test_attempts_with_the_same_error_are_one(client, superuser):
    flow = make_flow(codes=[RAISING], max_deliveries=3)
    run = start()
    for _ in range(3):
        make_due()
        work_until_idle(flow)

    content = client.get(page_of(run)).content.decode()

    assert "Attempts 1 to 3" in content
    assert "3 times" in content
    assert content.count("raise ValueError") == 1


def test_a_script_that_waits_after_a_failure_does_not_back_off(db):
    flow = make_flow(codes=[RAISING, ECHO], max_deliveries=3)
    run = start()
    work_until_idle(flow)
    assert run_story(run_of(run.pk)).steps[0].spans[-1].kind == BACK_OFF
    message = Message.objects.get()

    message.waiting = waiting_again(None, message.step_id, 0.0, "", "no file yet")
    message.save()

    assert run_story(run_of(run.pk)).steps[0].spans[-1].kind == WAITED


def test_the_time_line_tells_waiting_running_and_back_off_apart(db):
    flow = make_flow(codes=[RAISING, ECHO], max_deliveries=2)
    run = start()
    for _ in range(2):
        make_due()
        work_until_idle(flow)
    engine.reprocess(DeadLetter.objects.get())

    story = run_story(run_of(run.pk))

    kinds = [span.kind for span in story.steps[0].spans]
    assert kinds == [WAITED, RAN, BACK_OFF, RAN, WAITED]
    assert story.steps[1].spans == []
    StepRun.objects.create(
        run=run,
        step=story.steps[0].step,
        outcome="COMPLETED",
        started_at=timezone.now() + timedelta(seconds=5),
        finished_at=timezone.now() + timedelta(seconds=6),
    )
    again = run_story(run_of(run.pk)).steps[0]
    assert DEAD in [span.kind for span in again.spans]


def test_branches_are_shown_with_their_inputs(client, superuser):
    flow = make_flow(codes=[SPLIT, ECHO])
    run = start()
    work_until_idle(flow)

    response = client.get(page_of(run))

    first, second = response.context["run_steps"]
    assert "each branch of flow-1 got one of it" in first["output"]["note"]
    inputs = [client.get(group["input"]["url"]).content for group in second["groups"]]
    assert [json.loads(text)["payload"]["n"] for text in inputs] == [0, 1, 2]


def test_a_run_with_very_many_attempts_takes_as_many_queries_as_another(client, superuser):
    flow = make_flow(codes=[SPLIT, ECHO])
    run = start()
    work_until_idle(flow)

    def queries():
        with CaptureQueriesContext(connection) as captured:
            response = client.get(page_of(run))
        return len(captured), response

    queries()
    before, _ = queries()
    template = StepRun.objects.filter(run=run, branch="000001").get()
    rows = []
    for number in range(4, 2500):
        template.pk, template.branch = None, f"{number:06}"
        rows.append(
            StepRun(**{f.attname: getattr(template, f.attname) for f in template._meta.fields})
        )
    StepRun.objects.bulk_create(rows)

    after, response = queries()

    assert after <= before
    assert response.context["run_is_cut"]
    assert "more attempts are not shown" in response.content.decode()


def test_the_live_part_ends_with_the_run(client, superuser):
    flow = make_flow(codes=[ECHO])
    run = start()
    live = reverse("admin:flows_run_live", args=[run.pk])
    assert "data-live-ended" not in client.get(live).content.decode()
    assert f'hx-get="{live}"' in client.get(page_of(run)).content.decode()

    work_until_idle(flow)

    content = client.get(live).content.decode()
    assert "data-live-ended" in content
    assert "<html" not in content


def test_a_run_starts_again_with_the_same_payload(client, superuser):
    flow = make_flow(codes=[ECHO])
    run = run_of(engine.start("flow", b'{"n": 1.10}').correlation_id)
    work_until_idle(flow)

    answer_dialog(client, reverse("admin:flows_run_start_again", args=[run.pk]))

    again = Run.objects.exclude(pk=run.pk).get()
    assert again.started_by == superuser
    assert Message.objects.get(pk=again.pk).body.endswith('"payload":{"n": 1.10}}')


def test_a_run_that_starts_again_goes_through_the_flow_as_it_is_now(client, superuser):
    flow = make_flow(codes=[ECHO])
    run = start({"n": 1})
    work_until_idle(flow)
    old = flow.steps.get()
    flow.steps.filter(pk=old.pk).update(position=2)
    flow.steps.create(
        position=1, name="check", script=old.script, queue=Queue.objects.create(name="checks")
    )

    answer_dialog(client, reverse("admin:flows_run_start_again", args=[run.pk]))

    again = Run.objects.exclude(pk=run.pk).get()
    assert Message.objects.get(pk=again.pk).step.name == "check"


ADD = (
    "def run(message, context):\n"
    "    message['payload']['seen'] = message['payload'].get('seen', 0) + 1\n"
    "    return message\n"
)


def from_step(run, position):
    return reverse("admin:flows_run_from_step", args=[run.pk, position])


def post_unchanged(client, url):
    payload = client.get(url).context["form"]["payload"].value()
    return client.post(url, {"payload": payload.replace("\n", "\r\n")})


def test_a_run_starts_again_from_a_step_with_what_the_step_got(client, superuser):
    flow = make_flow(codes=[ADD, ADD, ADD])
    run = start({"order": 7})
    work_until_idle(flow)
    assert from_step(run, 1) in client.get(page_of(run)).content.decode()

    assert "Start a new run at the step flow-1?" in client.get(from_step(run, 1)).content.decode()
    post_unchanged(client, from_step(run, 1))
    again = Run.objects.exclude(pk=run.pk).get()
    assert (again.repeats, again.started_by, again.status) == (run.pk, superuser, "RUNNING")
    work_until_idle(flow)

    again.refresh_from_db()
    assert again.status == "COMPLETED"
    assert '"order":7,"seen":3' in again.result
    assert list(again.step_runs.values_list("step__position", flat=True)) == [1, 2]
    content = client.get(page_of(again)).content.decode()
    assert page_of(run) in content
    assert from_step(again, 0) not in content
    repeated_by = client.get(page_of(run)).context["run_repeated_by"]
    assert [each["url"] for each in repeated_by] == [page_of(again)]
    assert not [each for each in conservation.check() if each.faults()]


def test_a_run_that_began_at_a_step_starts_again_there(client):
    flow = make_flow(codes=[ADD, ADD])
    run = start({"order": 7})
    work_until_idle(flow)
    post_unchanged(client, from_step(run, 1))
    again = Run.objects.exclude(pk=run.pk).get()
    work_until_idle(flow)

    answer_dialog(client, reverse("admin:flows_run_start_again", args=[again.pk]))

    third = Run.objects.exclude(pk__in=[run.pk, again.pk]).get()
    assert third.repeats == again.pk
    assert trace(third)["repeats"] == str(again.pk)
    assert Message.objects.get(pk=third.pk).step.position == 1


def test_a_step_whose_input_was_not_kept_says_why_no_run_starts_from_it(client):
    flow = make_flow(codes=[ADD, ADD])
    Flow.objects.update(keep=Keep.NOTHING)
    run = start({"order": 7})
    work_until_idle(flow)

    content = client.get(page_of(run)).content.decode()

    assert "cannot start again from this step. It was not kept: the flow keeps no" in content
    assert from_step(run, 1) not in content
    client.post(from_step(run, 1))
    assert Run.objects.count() == 1


def test_the_payload_of_a_run_is_edited_and_the_new_run_names_the_old_one(client, superuser):
    flow = make_flow(codes=[ECHO])
    run = run_of(engine.start("flow", b'{"n": 1.10}').correlation_id)
    work_until_idle(flow)
    url = client.get(page_of(run)).context["run_again_url"]

    refused = client.post(url, {"payload": "[1]"})
    assert refused.context["form"]["payload"].value() == "[1]"
    assert "must be a JSON object" in refused.context["form"].errors["payload"][0]
    post_unchanged(client, url)
    client.post(url, {"payload": '{"n": 2.20}'})

    again = Run.objects.filter(repeats=run.pk).order_by("pk")
    bodies = [message.body for message in Message.objects.filter(pk__in=again).order_by("pk")]
    assert [body.rpartition('"payload":')[2] for body in bodies] == ['{"n": 1.10}}', '{"n": 2.20}}']


def test_a_payload_that_was_not_kept_is_entered(client, superuser):
    flow = make_flow(codes=[ECHO])
    Flow.objects.update(keep=Keep.NOTHING)
    run = start()
    work_until_idle(flow)
    url = client.get(page_of(run)).context["run_again_url"]

    page = client.get(url).content.decode()
    client.post(url, {"payload": '{"n": 2}'})

    assert "It was not kept" in page
    assert Run.objects.get(repeats=run.pk).status == "QUEUED"


def test_a_payload_for_a_later_step_is_entered_by_those_who_operate_the_flow(starter):
    client, user = starter
    flow = Flow.objects.get()
    step = flow.steps.get()
    flow.steps.create(
        position=2, name="later", script=step.script, queue=Queue.objects.create(name="later")
    )
    run = run_of(engine.start("flow", {"n": 1}).correlation_id)
    work_until_idle(flow)
    later = from_step(run, run.flow_version.steps.get(name="later").position)
    forms = []

    for right in (Right.WATCH, Right.OPERATE):
        RoleMapping.objects.create(role=user.groups.get(), right=right, flow=flow)
        forms.append(client.get(later).context["form"])
        client.post(later, {"payload": '{"n": 2}'})

    assert forms[0] is None
    assert forms[1] is not None
    again = Message.objects.filter(run__in=Run.objects.filter(repeats=run.pk)).order_by("pk")
    assert ['"n": 2' in message.body for message in again] == [False, True]


def test_who_only_starts_runs_starts_the_own_ones_again(starter):
    client, user = starter
    own = run_of(engine.start("flow", {"n": 1}, user=user).correlation_id)
    other = run_of(engine.start("flow", {"n": 2}).correlation_id)
    work_until_idle(Flow.objects.get())

    answer_dialog(client, reverse("admin:flows_run_start_again", args=[own.pk]))

    assert Run.objects.get(repeats=own.pk).started_by == user
    assert client.get(reverse("admin:flows_run_again", args=[own.pk])).status_code == 403
    assert client.get(reverse("admin:flows_run_again", args=[other.pk])).status_code == 404


def test_a_run_that_goes_on_is_not_started_again(client, superuser):
    make_flow(codes=[ECHO])
    run = start()

    response = answer_dialog(client, reverse("admin:flows_run_start_again", args=[run.pk]))

    assert "The run is QUEUED." in messages_of(response)
    assert response.context["run_again_url"] == ""
    assert Run.objects.count() == 1


def test_selected_runs_are_started_again(client, superuser):
    flow = make_flow(codes=[ECHO])
    ended = [start({"n": n}) for n in range(3)]
    work_until_idle(flow)
    Run.objects.filter(pk=ended[0].pk).update(status="RUNNING")
    StepRun.objects.filter(run=ended[1].pk).update(input=None)

    said = messages_of(act_on(client, "/admin/flows/run/", "start_selected_again", *ended))

    assert "Started again: 1." in said
    assert Run.objects.get(repeats__isnull=False).repeats == ended[2].pk
    assert any(words.startswith("Not started: 1. ") for words in said)


def test_who_does_not_see_what_a_step_got_starts_nothing_from_it(client, starter):
    starter_client, user = starter
    own = run_of(engine.start("flow", {"n": 1}, user=user).correlation_id)

    assert starter_client.post(from_step(own, 0)).status_code == 403
    assert Run.objects.count() == 1


def test_the_start_form_is_filled_in_with_the_payload_of_a_run(client, superuser):
    make_flow(codes=[ECHO])
    run = start({"order": "A-77"})

    url = client.get(page_of(run)).context["run_like_url"]

    assert "A-77" in client.get(url).content.decode()
    flow_url = url.split("?")[0]
    assert client.get(f"{flow_url}?like=rubbish").status_code == 200


def test_a_cancelled_run_can_be_started_again(client, superuser):
    make_flow(codes=[ECHO])
    run = start({"order": 7})
    engine.cancel(run)

    response = client.get(page_of(run))

    assert loaded(client, response) == {"order": 7}


@pytest.fixture
def starter(db):
    """Return a client of a user who starts runs of the flow and sees the own ones."""
    client = Client()
    user = User.objects.create_user("starter", is_staff=True)
    role = Group.objects.create(name="starters")
    user.groups.add(role)
    flow = make_flow(codes=[ECHO])
    RoleMapping.objects.create(role=role, right=Right.START, flow=flow)
    client.force_login(user)
    return client, user


def test_payloads_need_the_right_to_watch(starter):
    client, user = starter
    run = run_of(engine.start("flow", {"n": 1}, user=user).correlation_id)

    response = client.get(page_of(run))

    assert response.status_code == 200
    assert "run-payloads" not in response.content.decode()
    body = reverse("admin:flows_run_body", args=[run.pk, "message", str(run.pk)])
    assert client.get(body).status_code == 403


def test_a_payload_is_found_under_its_own_run_alone(client, superuser):
    flow = make_flow(codes=[PICKY])
    mine, other = start(), start()
    work_until_idle(flow)
    letter = DeadLetter.objects.get(run=mine)

    def status(run, kind, row):
        return client.get(reverse("admin:flows_run_body", args=[run.pk, kind, row])).status_code

    assert status(mine, "letter", letter.pk) == 200
    assert status(other, "letter", letter.pk) == 404
    assert status(mine, "letter", "rubbish") == 404
    assert status(mine, "secrets", "1") == 404


def test_of_a_large_payload_the_page_gets_the_beginning_and_a_link_to_the_whole(client, superuser):
    make_flow(codes=[ECHO])
    run = start({"text": "x" * 200_000})
    url = reverse("admin:flows_run_body", args=[run.pk, "start", "whole"])

    shown, whole = client.get(url), client.get(f"{url}?whole=1")

    assert len(shown.content) == 64 * 1024
    assert shown["X-Shown"].startswith("The first 64.0 KB of 195.3 KB")
    assert whole.json() == {"text": "x" * 200_000}
    assert "attachment" in whole["Content-Disposition"]


@pytest.mark.django_db
def test_the_payloads_are_erased_after_a_dialog_that_counts_them(client):
    flow = make_flow(codes=[ECHO])
    run = start({"secret": "Zeiglmeier"})
    work_until_idle(flow)
    url = reverse("admin:flows_run_erase", args=[run.pk])

    asked = client.get(url)
    assert "Runs: 1. " in asked.content.decode()
    assert "results (1)" in asked.content.decode()
    answer_dialog(client, url)

    page = client.get(page_of(run)).content.decode()
    assert "Its payloads were erased" in page
    assert "Zeiglmeier" not in page
    for link in ("Start again", "and start again", "Open the start form", url):
        assert link not in page


@pytest.mark.django_db
def test_a_run_that_was_erased_offers_no_start_and_its_form_leads_back(client):
    flow = make_flow(codes=[ECHO, ECHO])
    run = start({"secret": "Zeiglmeier"})
    work_until_idle(flow)
    answer_dialog(client, reverse("admin:flows_run_erase", args=[run.pk]))

    page = client.get(page_of(run)).content.decode()
    addresses = [
        reverse("admin:flows_run_again", args=[run.pk]),
        *(reverse("admin:flows_run_from_step", args=[run.pk, place]) for place in (0, 1)),
    ]

    assert page.count("It cannot start again from this step. Its payloads were erased.") == 2
    for address in addresses:
        assert address not in page
        response = client.get(address, follow=True)
        assert response.redirect_chain == [(page_of(run), 302)]
        assert "The payloads of the run were erased." in messages_of(response)


@pytest.mark.django_db
def test_the_form_of_a_run_whose_payload_was_not_kept_promises_no_copy(client):
    flow = make_flow(codes=[ECHO])
    Flow.objects.update(keep=Keep.NOTHING)
    run = start({"a": 1})
    work_until_idle(flow)

    page = client.get(reverse("admin:flows_run_again", args=[run.pk])).content.decode()

    assert "What the new run gets." in page
    assert "exactly what this one got" not in page


def test_what_waited_when_a_run_was_cancelled_is_for_those_who_see_payloads(
    staff_client, give_right
):
    """Its starter sees the run, and not what inner steps have made of the payload."""
    flow = make_flow(codes=[TRAIL, TRAIL])
    client = staff_client()
    give_right("start", flow)
    run = start({"n": "hushhush"})
    Run.objects.filter(pk=run.pk).update(started_by=User.objects.get(username="staff"))
    engine.cancel(run_of(run.pk))
    assert "hushhush" in str(run_of(run.pk).cancelled_input)

    page = client.get(page_of(run))
    whole = client.get(page_of(run).replace("/change/", "/cancelled_input.json"))

    assert (page.status_code, whole.status_code == 200) == (200, False)
    assert "hushhush" not in page.content.decode()

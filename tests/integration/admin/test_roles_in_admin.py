"""The grid: what each kind of staff member sees and does of a flow that is theirs, and of one
that is not.

Nothing about a flow that a user may not see is in any answer, and no button does what the API
refuses to that user.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from knox.models import AuthToken
from uuid_utils.compat import uuid7

from flows.access import audit
from flows.models import (
    Consumer,
    DeadLetter,
    Flow,
    FlowTotals,
    Message,
    Queue,
    QueueState,
    Reprocessing,
    Right,
    RoleMapping,
    Run,
    Step,
    WebhookDelivery,
)
from scripts.models import Script
from tests.integration.admin.world import make_run
from tests.made_rows import MadeRows

pytestmark = pytest.mark.usefixtures("refusals_once")

SECRET_WORD = "hushhush"
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
# Django's permissions beside the role: none, to look at everything, and everything.
PERMISSIONS = ["none", "view", "all"]
RIGHTS = [(), ("start",), ("watch",), ("operate",)]


@dataclass
class Theirs:
    """A flow with what belongs to it; every text of it holds a word that finds it."""

    flow: Flow
    queue: Queue
    run: Run
    running: Run
    letter: DeadLetter
    consumer: Consumer
    reprocessing: Reprocessing
    mapping: RoleMapping
    webhook: WebhookDelivery


def make_theirs(script, word, superuser) -> Theirs:
    flow = Flow.objects.create(name=f"{word}-flow", description=f"about {word}")
    queue = Queue.objects.create(name=f"{word}-queue")
    Step.objects.create(flow=flow, name=f"{word}-step", script=script, queue=queue, position=0)
    version = flow.make_version()
    (step,) = version.steps.all()
    failed = make_run(version, Run.Status.FAILED, error=f"{word} went wrong")
    running = make_run(version, Run.Status.RUNNING)
    now = timezone.now()
    letter = DeadLetter.objects.create(
        run=failed,
        step=step,
        reason="exhausted",
        error=f"{word} went wrong",
        deliveries=5,
        body=json.dumps({"correlationId": str(failed.pk), "payload": {"note": word}}),
        dead_at=now,
    )
    Message.objects.create(
        id=running.pk,
        run_id=running.pk,
        step=step,
        queue=queue,
        body=json.dumps({"correlationId": str(running.pk), "payload": {"note": word}}),
        available_at=now,
    )
    QueueState.objects.filter(queue=queue).update(depth=1)
    consumer = Consumer.objects.create(
        queue=queue,
        threads=1,
        cluster="c",
        machine="h",
        pid=1,
        created_at=now,
        heartbeat_at=now,
    )
    reprocessing = Reprocessing.objects.create(
        filter={"flow_name": flow.name},
        flow_ids=[flow.pk],
        script="own",
        matched=1,
        last_id=1,
        user=superuser,
        created_at=now,
        due_at=now,
        note=f"{word} again",
    )
    FlowTotals.objects.update_or_create(flow_name=flow.name, defaults={"accepted": 2})
    role = Group.objects.create(name=f"role of {len(word)}")
    mapping = RoleMapping.objects.create(role=role, right="watch", flow=flow)
    webhook = WebhookDelivery.objects.create(
        id=uuid7(),
        run=failed,
        flow=flow.pk,
        url=f"https://{word}.example/",
        run_status=failed.status,
        at=now,
        status="failed",
        error=f"{word} went wrong",
    )
    return Theirs(flow, queue, failed, running, letter, consumer, reprocessing, mapping, webhook)


@dataclass
class Both:
    """The flow that is hidden from staff, and the one that they have rights to."""

    script: Script
    hidden: Theirs
    own: Theirs


def make_both() -> Both:
    superuser = User.objects.get(username="root")
    script = Script.objects.create(name="shared", code="def run(message, context): return message")
    hidden, own = (make_theirs(script, word, superuser) for word in (SECRET_WORD, "mine"))
    return Both(script, hidden, own)


BOTH = MadeRows(make_both)


@pytest.fixture
def both(superuser) -> Both:
    made: Both = BOTH.again()
    return made


@pytest.fixture
def script(both):
    return both.script


@pytest.fixture
def hidden(both):
    return both.hidden


@pytest.fixture
def own(both):
    return both.own


@pytest.fixture
def staff(own, hidden):
    """Return a function that makes a client with rights to the own flow and permissions."""

    def log_in(rights, permissions="none"):
        user = User.objects.create_user("staff", password="secret", is_staff=True)
        role = Group.objects.create(name="theirs")
        for right in rights:
            RoleMapping.objects.create(role=role, right=right, flow=own.flow)
        user.groups.add(role)
        given = Permission.objects.all()
        if permissions == "view":
            given = given.filter(codename__startswith="view_")
        if permissions != "none":
            with audit.silent():
                user.user_permissions.set(given)
        AuthToken.objects.create(user)
        client = Client()
        client.force_login(user)
        return client

    return log_in


def address(model, page, *args):
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=args)


def pages_of(theirs: Theirs):
    """Yield the addresses of pages and buttons about one flow."""
    objects = [
        theirs.flow,
        theirs.queue,
        theirs.run,
        theirs.running,
        theirs.letter,
        theirs.consumer,
        theirs.reprocessing,
        theirs.mapping,
        theirs.webhook,
        theirs.flow.versions.get(),
    ]
    for obj in objects:
        for page in ("change", "delete", "history"):
            yield address(type(obj), page, obj.pk)
    for obj in (theirs.flow, theirs.queue, theirs.mapping):
        old = obj.history.first()
        yield address(type(obj), "simple_history", obj.pk, old.history_id)
    yield address(Run, "result", theirs.run.pk)
    yield address(Flow, "webhooks", theirs.flow.pk)
    yield address(DeadLetter, "body", theirs.letter.pk)
    for obj, pages in {
        theirs.flow: ("start", "pause", "resume", "runs"),
        theirs.queue: ("pause", "resume"),
        theirs.running: ("cancel", "bypass_pause"),
        theirs.letter: ("reprocess", "discard"),
        theirs.reprocessing: ("stop",),
        theirs.webhook: ("send_again",),
    }.items():
        for page in pages:
            yield address(type(obj), page, obj.pk)


def pages_for_all(script):
    """Yield the addresses of pages that are not about one flow."""
    yield reverse("admin:index")
    for app in ("flows", "scripts", "auth"):
        yield reverse("admin:app_list", args=[app])
    for model in MODELS:
        yield address(model, "changelist")
        yield f"{address(model, 'changelist')}?q=h"
        yield address(model, "add")
    yield address(Script, "change", script.pk)
    yield address(Script, "delete", script.pk)
    yield address(Script, "samples", script.pk)
    yield address(type(script.current_version), "change", script.current_version.pk)
    yield reverse("admin:flows_run_conservation")
    yield reverse("admin:flows_reprocessing_begin")
    for group in Group.objects.all():
        yield address(Group, "change", group.pk)
        yield address(Group, "delete", group.pk)
    for field in ("queue", "script"):
        query = f"app_label=flows&model_name=step&field_name={field}"
        yield f"{reverse('admin:autocomplete')}?{query}"
    yield f"{reverse('admin:search')}?s=h&extended=1"


def told_by(response):
    return response.content.decode() if response.status_code == 200 else ""


def every_kind_of_staff():
    """Yield each pair of rights and permissions; the default run has the two most unlike ones."""
    short = {((), "all"), (("operate",), "none")}
    for rights in RIGHTS:
        for permissions in PERMISSIONS:
            marks = () if (rights, permissions) in short else pytest.mark.long
            name = f"{'+'.join(rights) or 'no right'}-{permissions}"
            yield pytest.param(rights, permissions, marks=marks, id=name)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("rights", "permissions"), [*every_kind_of_staff()])
def test_no_answer_tells_of_a_flow_that_is_not_seen(
    staff, own, hidden, script, rights, permissions
):
    client = staff(rights, permissions)

    for url in [*pages_for_all(script), *pages_of(own), *pages_of(hidden)]:
        asked = client.get(url)
        answered = client.post(url, {"_form_submitted": "True", "payload": "{}"})

        for response in (asked, answered):
            assert response.status_code < 500, url
            assert SECRET_WORD not in told_by(response), url
    hidden.flow.refresh_from_db()
    hidden.running.refresh_from_db()
    hidden.letter.refresh_from_db()
    hidden.queue.refresh_from_db()
    assert not hidden.flow.paused
    assert not hidden.queue.paused
    assert hidden.running.status == "RUNNING"
    assert hidden.letter.discarded_at is None
    assert hidden.letter.reprocessed_at is None
    assert Message.objects.filter(step__flow_version__flow=hidden.flow).count() == 1


def test_the_filter_by_step_has_none_of_a_flow_that_is_not_seen(staff, own, hidden):
    client = staff(("watch",), "view")

    lists = [
        told_by(client.get(address(Run, "changelist"), {"flow": each.flow.name}))
        for each in (own, hidden)
    ]

    assert ["mine-step" in lists[0], f"{SECRET_WORD}-step" in lists[1]] == [True, False]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("permissions", PERMISSIONS)
@pytest.mark.parametrize(
    ("right", "seen"),
    [
        ("start", {Flow}),
        ("watch", {Flow, Queue, Run, DeadLetter, Consumer}),
        ("operate", {Flow, Queue, Run, DeadLetter, Consumer}),
    ],
)
def test_a_role_shows_the_rows_of_its_flow_without_any_permission(
    staff, own, right, seen, permissions
):
    client = staff((right,), permissions)
    rows = {
        Flow: own.flow.name,
        Queue: own.queue.name,
        Run: str(own.run.pk),
        DeadLetter: "mine went wrong",
        Consumer: own.queue.name,
    }

    for model, text in rows.items():
        response = client.get(address(model, "changelist"))

        assert (text in told_by(response)) is (model in seen), model


def press(client, obj, page, **data):
    url = address(type(obj), page, obj.pk)
    client.get(url)
    return client.post(url, {"_form_submitted": "True"} | data)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("permissions", PERMISSIONS)
@pytest.mark.parametrize("right", Right.values)
def test_a_button_does_what_the_right_allows_and_no_more(staff, own, right, permissions):
    client = staff((right,), permissions)
    operates = right == "operate"

    press(client, own.flow, "pause")
    press(client, own.queue, "pause")
    press(client, own.letter, "discard")
    press(client, own.running, "cancel")

    for obj in (own.flow, own.queue, own.letter, own.running):
        obj.refresh_from_db()
    assert own.flow.paused is operates
    assert own.queue.paused is operates
    assert (own.letter.discarded_at is not None) is operates
    assert (own.running.status == "CANCELLED") is operates


@pytest.mark.sampled(4)
@pytest.mark.parametrize("permissions", PERMISSIONS)
@pytest.mark.parametrize("right", Right.values)
def test_only_the_right_to_start_starts(staff, own, right, permissions):
    client = staff((right,), permissions)
    before = Run.objects.count()

    response = press(client, own.flow, "start", payload="{}")

    assert (response.status_code == 302) is (right == "start")
    assert Run.objects.count() - before == (right == "start")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("permissions", PERMISSIONS)
@pytest.mark.parametrize("right", Right.values)
def test_reprocessing_takes_the_right_to_operate(staff, own, hidden, right, permissions):
    client = staff((right,), permissions)
    begin = reverse("admin:flows_reprocessing_begin")
    count = Reprocessing.objects.count()

    counted = client.post(begin, {"script": "own", "sample": "0"})
    confirmed = counted.context["confirmed"] if counted.status_code == 200 else "{}"
    client.post(begin, {"script": "own", "sample": "0", "confirmed": confirmed})
    response = press(client, own.letter, "reprocess", script="own", payload='{"note": "mine"}')

    own.letter.refresh_from_db()
    operates = right == "operate"
    assert (response.status_code == 302) is operates
    assert (own.letter.reprocessed_at is not None) is operates
    made = list(Reprocessing.objects.order_by("pk")[count:])
    assert [each.flow_ids for each in made] == [[own.flow.pk]] * operates


def test_the_history_of_a_mapping_tells_of_no_flow_that_it_named_before(staff, own, hidden):
    mapping = RoleMapping.objects.create(
        role=Group.objects.create(name="moved"), right="start", flow=hidden.flow
    )
    first = mapping.history.first()
    mapping.flow = own.flow
    mapping.save()
    client = staff(("start",), "all")

    pages = [
        client.get(address(RoleMapping, "history", mapping.pk)),
        client.get(address(RoleMapping, "simple_history", mapping.pk, first.history_id)),
    ]

    assert [page.status_code for page in pages] == [403, 403]
    assert own.flow.name in told_by(client.get(address(RoleMapping, "change", mapping.pk)))


def test_a_superuser_sees_the_history_of_a_mapping_that_was_deleted(client, own):
    pk = own.mapping.pk
    own.mapping.delete()

    assert client.get(address(RoleMapping, "history", pk)).status_code == 200


@pytest.mark.parametrize("action", ["pause_selected", "reprocess_selected", "discard_selected"])
def test_a_list_action_leaves_out_what_is_only_watched(staff, own, hidden, action):
    client = staff(("watch",))
    everywhere = RoleMapping.objects.create(
        role=Group.objects.get(name="theirs"), right="operate", flow=hidden.flow
    )
    target = own.flow if action == "pause_selected" else own.letter
    url = address(type(target), "changelist")

    chosen = {"action": action, "_selected_action": [target.pk], "_confirmed": "yes"}

    client.post(url, chosen)

    target.refresh_from_db()
    assert everywhere.right == "operate"
    if action == "pause_selected":
        assert target.paused is False
    else:
        assert (target.reprocessed_at, target.discarded_at) == (None, None)


def test_an_own_run_is_seen_and_cancelled_by_who_may_only_start(staff, own):
    client = staff(("start",))
    press(client, own.flow, "start", payload="{}")
    mine = Run.objects.get(started_by__username="staff")
    listed = told_by(client.get(address(Run, "changelist")))

    press(client, mine, "cancel")

    mine.refresh_from_db()
    assert str(mine.pk) in listed
    assert str(own.run.pk) not in listed
    assert mine.status == "CANCELLED"


@pytest.mark.parametrize("rights", [(), ("watch",)])
def test_to_change_a_flow_takes_the_permission_and_that_it_is_seen(staff, own, hidden, rights):
    client = staff(rights, "all")
    for theirs, sees in ((own, bool(rights)), (hidden, False)):
        page = address(Flow, "change", theirs.flow.pk)

        response = client.get(page)

        assert (response.status_code == 200) is sees
        assert (b'name="_save"' in response.content) is sees


def test_a_watcher_sees_the_steps_and_no_button(staff, own):
    client = staff(("watch",))

    content = told_by(client.get(address(Flow, "change", own.flow.pk)))

    assert "mine-step" in content
    for button in ("_save", "/start/", "/pause/", "/delete/"):
        assert button not in content


def test_home_shows_what_the_user_watches(staff, own, hidden):
    client = staff(("watch",))

    context = client.get(reverse("admin:index")).context

    assert [row["name"] for row in context["flows"]] == ["mine-flow"]
    assert {row["name"] for row in context["queues"]} <= {"mine-queue"}
    assert {row["alarm"].flow for row in context["alarms"]} <= {"mine-flow", ""}


def test_a_superuser_sees_every_flow(client, own, hidden):
    for model in (Flow, Queue, Run, DeadLetter, Consumer, Reprocessing, RoleMapping):
        content = told_by(client.get(address(model, "changelist")))
        for theirs in (own, hidden):
            assert theirs.flow.name in content or theirs.queue.name in content

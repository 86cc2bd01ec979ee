"""The grid of profiles, pages and actions: what each profile opens, what each page offers it, and
what each action changes for it; beside it the same by the API.

Each profile is one user with that profile for one flow, but for those named otherwise. A second
flow shows that a profile for one flow tells nothing of another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django_q.models import Failure, OrmQ, Schedule, Success
from knox.models import AuthToken

from flows.access.profiles import Profile, make_role
from flows.models import (
    AuditEntry,
    Consumer,
    DeadLetter,
    Flow,
    FlowSchedule,
    FlowWebhook,
    Message,
    Queue,
    Reprocessing,
    RoleMapping,
    Run,
    Step,
    WebhookDelivery,
)
from scripts.models import Library, Script, ScriptVersion, Secret, TrialRecord
from tests.integration.admin.pages import form_data
from tests.integration.admin.test_roles_in_admin import SECRET_WORD, address, make_theirs

pytestmark = pytest.mark.usefixtures("refusals_once")

CODE = "def run(message, context): return message"

NO_PROFILE: frozenset[str] = frozenset()
STRANGER, OTHERS_VIEWER = "no role", "viewer of the other flow"
VIEWER, OPERATOR, CONFIGURATOR = "viewer", "operator", "configurator"
OF_EVERY, ADMINISTRATOR = "configurator of every flow", "administrator"
PROFILES = (
    *(STRANGER, OTHERS_VIEWER),
    *(VIEWER, OPERATOR, CONFIGURATOR),
    *(OF_EVERY, ADMINISTRATOR),
)
STAFF = frozenset(PROFILES)
ADMINISTRATES = frozenset({ADMINISTRATOR})
CONFIGURES_EVERY = ADMINISTRATES | {OF_EVERY}
CONFIGURES = CONFIGURES_EVERY | {CONFIGURATOR}
OPERATES = STARTS = CONFIGURES | {OPERATOR}
SEES = OPERATES | {VIEWER}
HAS_A_ROLE = SEES | {OTHERS_VIEWER}


@dataclass(frozen=True)
class Page:
    """A page, who opens it, and who finds each of these texts on it."""

    url: str
    opened_by: frozenset[str]
    offers: dict[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Action:
    """What is sent and who changes something by it; `of_form` sends the form of the page, too."""

    url: str
    done_by: frozenset[str]
    value: Callable[[], Any]
    data: dict[str, Any] = field(default_factory=dict)
    of_form: bool = False
    method: str = "post"


@dataclass
class Things:
    own: Any
    script: Script
    shared: Script
    spare: Queue
    schedule: FlowSchedule
    secret: Secret
    role: Group
    user: User


@pytest.fixture
def things(superuser) -> Things:
    script, shared, other = (
        Script.objects.create(name=name, code=CODE) for name in ("own", "shared", SECRET_WORD)
    )
    own = make_theirs(script, "mine", superuser)
    hidden = make_theirs(shared, SECRET_WORD, superuser)
    for flow, name, used in ((own.flow, "too", shared), (hidden.flow, SECRET_WORD, other)):
        queue = Queue.objects.create(name=f"{name} {flow.pk}")
        Step.objects.create(flow=flow, name=name, script=used, queue=queue, position=1)
    secret = Secret(name=SECRET_WORD)
    secret.set_value("swordfish")
    secret.save()
    return Things(
        own=own,
        script=script,
        shared=shared,
        spare=Queue.objects.create(name="spare"),
        schedule=FlowSchedule.objects.create(flow=own.flow, name="nightly", cron="0 2 * * *"),
        secret=secret,
        role=Group.objects.create(name="clerks"),
        user=User.objects.create_user("clerk", password="secret"),
    )


def log_in(profile: str, things: Things) -> Client:
    user = User.objects.create_user("staff", password="secret", is_staff=True)
    if profile == ADMINISTRATOR:
        user.is_superuser = True
        user.save()
    elif profile == OTHERS_VIEWER:
        user.groups.add(
            make_role(Profile.VIEWER, Flow.objects.exclude(pk=things.own.flow.pk).get())
        )
    elif profile == OF_EVERY:
        user.groups.add(make_role(Profile.CONFIGURATOR, None))
    elif profile != STRANGER:
        user.groups.add(make_role(profile, things.own.flow))
    client = Client()
    client.force_login(user)
    return client


def pages(things: Things) -> list[Page]:
    own = things.own
    lists = {
        Flow: HAS_A_ROLE,
        Queue: HAS_A_ROLE,
        Run: HAS_A_ROLE,
        DeadLetter: HAS_A_ROLE,
        Consumer: HAS_A_ROLE,
        Reprocessing: OPERATES,
        WebhookDelivery: HAS_A_ROLE,
        Script: CONFIGURES,
        ScriptVersion: CONFIGURES,
        **dict.fromkeys((Library, Secret, TrialRecord, AuditEntry), ADMINISTRATES),
        **dict.fromkeys((User, Group, RoleMapping, AuthToken), ADMINISTRATES),
        **dict.fromkeys((Schedule, OrmQ, Success, Failure), ADMINISTRATES),
    }
    added = {
        **dict.fromkeys((Flow, Queue, Script), CONFIGURES_EVERY),
        **dict.fromkeys((Library, Secret, User, Group, RoleMapping, AuthToken), ADMINISTRATES),
        Schedule: ADMINISTRATES,
        **dict.fromkeys((Run, DeadLetter, AuditEntry, TrialRecord), NO_PROFILE),
    }
    saves = {'name="_save"': CONFIGURES}
    choices = f"{reverse('admin:autocomplete')}?app_label=flows&model_name=step&field_name="
    operated = {"/pause/": OPERATES}
    return [
        Page(reverse("admin:index"), STAFF),
        Page(reverse("admin:flows_rolemapping_mine"), STAFF),
        Page(reverse("admin:own_tokens"), STAFF),
        Page(f"{reverse('admin:search')}?s=h&extended=1", STAFF),
        Page(f"{choices}script", CONFIGURES),
        Page(f"{choices}queue", HAS_A_ROLE),
        Page(reverse("admin:flows_rolemapping_matrix"), ADMINISTRATES),
        *(Page(address(model, "changelist"), who) for model, who in lists.items()),
        *(Page(address(model, "add"), who) for model, who in added.items()),
        Page(
            address(Flow, "change", own.flow.pk),
            SEES,
            {**saves, **operated, "/start/": STARTS, "role_mappings-": ADMINISTRATES},
        ),
        Page(address(Flow, "start", own.flow.pk), STARTS, {'name="_try"': OPERATES}),
        Page(reverse("admin:flows_flow_webhooks", args=[own.flow.pk]), CONFIGURES),
        Page(address(WebhookDelivery, "change", own.webhook.pk), SEES, {"/send_again/": OPERATES}),
        Page(reverse("admin:flows_configuration_import"), ADMINISTRATES),
        Page(reverse("admin:flows_configuration_export"), ADMINISTRATES),
        Page(address(Flow, "history", own.flow.pk), SEES),
        Page(address(type(own.flow.versions.get()), "change", own.flow.versions.get().pk), SEES),
        Page(address(Queue, "change", own.queue.pk), SEES, {**saves, **operated}),
        Page(address(Queue, "change", things.spare.pk), CONFIGURES_EVERY),
        Page(address(FlowSchedule, "change", things.schedule.pk), SEES, {**saves, **operated}),
        Page(address(Run, "change", own.running.pk), SEES, {"/cancel/": OPERATES}),
        Page(address(DeadLetter, "change", own.letter.pk), SEES, {"/discard/": OPERATES}),
        Page(address(DeadLetter, "reprocess", own.letter.pk), OPERATES),
        Page(reverse("admin:flows_reprocessing_begin"), OPERATES),
        Page(address(Script, "change", things.script.pk), CONFIGURES, saves),
        Page(
            address(Script, "change", things.shared.pk),
            CONFIGURES,
            {
                'name="_save"': CONFIGURES_EVERY,
                "used by a flow that you may not configure": frozenset({CONFIGURATOR}),
            },
        ),
        Page(address(Script, "samples", things.script.pk), CONFIGURES),
        Page(address(ScriptVersion, "change", things.script.current_version.pk), CONFIGURES),
        Page(address(Secret, "change", things.secret.pk), ADMINISTRATES),
        Page(address(RoleMapping, "change", own.mapping.pk), ADMINISTRATES),
        Page(address(Group, "change", things.role.pk), ADMINISTRATES),
        Page(address(User, "change", things.user.pk), ADMINISTRATES),
        Page(reverse("admin:flows_rolemapping_of_user", args=[things.user.pk]), ADMINISTRATES),
        Page(f"{reverse('admin:flows_rolemapping_profile')}?user={things.user.pk}", ADMINISTRATES),
        Page(reverse("admin:flows_run_conservation"), CONFIGURES_EVERY),
    ]


def actions(things: Things) -> list[Action]:
    own, yes = things.own, {"_form_submitted": "True"}
    flow, queue, run = own.flow, own.queue, own.running

    def of(obj: Any, *names: str) -> Callable[[], Any]:
        rows = type(obj)._base_manager.filter(pk=obj.pk)
        return lambda: list(rows.values_list(*names))

    def count(model: Any) -> Callable[[], int]:
        return model._base_manager.count

    decided = of(own.letter, "discarded_at", "reprocessed_at")
    switch = {"set": f"{things.role.pk}:{flow.pk}:watch:on"}
    chosen = {"profile": "viewer", "flows": [flow.pk]}
    new = {"name": "new"}
    return [
        Action(address(Flow, "start", flow.pk), STARTS, count(Run), {"payload": "{}"}),
        Action(
            address(Flow, "start", flow.pk), NO_PROFILE, count(Run), {"payload": "{}", "_try": "1"}
        ),
        Action(address(Flow, "pause", flow.pk), OPERATES, of(flow, "paused"), yes),
        Action(address(Queue, "pause", queue.pk), OPERATES, of(queue, "paused"), yes),
        Action(
            address(FlowSchedule, "pause", things.schedule.pk),
            OPERATES,
            of(things.schedule, "active"),
            yes,
        ),
        Action(address(Run, "cancel", run.pk), OPERATES, of(run, "status"), yes),
        Action(address(DeadLetter, "discard", own.letter.pk), OPERATES, decided, yes),
        Action(
            address(WebhookDelivery, "send_again", own.webhook.pk),
            OPERATES,
            of(own.webhook, "status"),
            yes,
        ),
        Action(
            reverse("admin:flows_flow_webhooks", args=[flow.pk]),
            CONFIGURES,
            count(FlowWebhook),
            {"replace": ""},
        ),
        Action(
            address(DeadLetter, "reprocess", own.letter.pk),
            OPERATES,
            decided,
            {"script": "own", "payload": '{"note": "mine"}'},
        ),
        Action(
            reverse("admin:flows_reprocessing_begin"),
            OPERATES,
            count(Reprocessing),
            {"script": "own", "sample": "0"},
        ),
        Action(
            address(Flow, "change", flow.pk),
            CONFIGURES,
            of(flow, "description"),
            {"description": "other"},
            of_form=True,
        ),
        Action(
            address(Queue, "change", queue.pk), CONFIGURES, of(queue, "size"), {"size": 77}, True
        ),
        Action(
            address(Script, "change", things.script.pk),
            CONFIGURES,
            of(things.script, "code"),
            {"code": f"{CODE}  # new"},
            of_form=True,
        ),
        Action(
            address(Script, "change", things.shared.pk),
            CONFIGURES_EVERY,
            of(things.shared, "code"),
            {"code": f"{CODE}  # new"},
            of_form=True,
        ),
        Action(
            address(Script, "change", things.script.pk),
            ADMINISTRATES,
            of(things.script, "network"),
            {"network": "on", "allowed_hosts": "a.example.org"},
            of_form=True,
        ),
        Action(
            address(Script, "change", things.script.pk),
            ADMINISTRATES,
            of(things.script, "secrets"),
            {"secrets": [SECRET_WORD]},
            of_form=True,
        ),
        *(
            Action(address(model, "add"), CONFIGURES_EVERY, count(model), new, of_form=True)
            for model in (Flow, Queue, Script)
        ),
        Action(
            address(Queue, "delete", things.spare.pk),
            CONFIGURES_EVERY,
            count(Queue),
            {"post": "yes"},
        ),
        Action(address(Flow, "delete", flow.pk), ADMINISTRATES, count(Flow), {"post": "yes"}),
        Action(
            reverse("admin:flows_rolemapping_matrix"), ADMINISTRATES, count(RoleMapping), switch
        ),
        *(
            Action(
                f"{reverse('admin:flows_rolemapping_profile')}?{kind}={target.pk}",
                ADMINISTRATES,
                value,
                chosen,
            )
            for kind, target, value in (
                ("role", things.role, count(RoleMapping)),
                ("user", things.user, of(things.user, "groups")),
            )
        ),
        Action(address(Group, "add"), ADMINISTRATES, count(Group), new, of_form=True),
        Action(
            address(RoleMapping, "add"),
            ADMINISTRATES,
            count(RoleMapping),
            {"role": things.role.pk, "right": "operate", "flow": ""},
        ),
        Action(address(AuthToken, "add"), ADMINISTRATES, count(AuthToken), {}, of_form=True),
        Action(
            address(Secret, "add"), ADMINISTRATES, count(Secret), new | {"value": "x"}, of_form=True
        ),
        Action("/async/api/start?flowName=mine-flow", STARTS, count(Run)),
        Action(f"/async/api/runs/{run.pk}/cancel", OPERATES, of(run, "status")),
        Action(f"/async/api/queues/{queue.name}/pause", OPERATES, of(queue, "paused")),
        Action(f"/async/api/dead-letters/{own.letter.pk}/reprocess", OPERATES, decided),
        Action(f"/async/api/dead-letters/{own.letter.pk}", OPERATES, decided, method="delete"),
    ]


API = {
    "flows/mine-flow": SEES,
    "queues/mine-queue": SEES,
    "queues/spare": CONFIGURES_EVERY,
    "runs/{run}": SEES,
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_opens_its_pages_and_finds_on_them_what_it_may_do(things, profile):
    client = log_in(profile, things)
    by_api = [
        Page(f"/async/api/{path.format(run=things.own.run.pk)}", who) for path, who in API.items()
    ]
    wrong = []

    for page in [*pages(things), *by_api]:
        response = client.get(page.url)
        text = response.content.decode() if response.status_code == 200 else ""
        if (response.status_code == 200) != (profile in page.opened_by):
            wrong.append((page.url, response.status_code))
        for offer, who in page.offers.items():
            if (offer in text) != (profile in who):
                wrong.append((page.url, offer))
        if profile in {STRANGER, VIEWER, OPERATOR, CONFIGURATOR} and SECRET_WORD in text:
            wrong.append((page.url, "tells of the other flow"))

    assert wrong == []


@pytest.mark.sampled(3)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_does_what_it_may_do_and_no_more(things, profile):
    client = log_in(profile, things)
    before_all = Message.objects.count()
    wrong = []

    for action in actions(things):
        with transaction.atomic():
            before = action.value()
            data = dict(action.data)
            if action.of_form:
                page = client.get(action.url)
                is_shown = page.status_code == 200 and "adminform" in page.context
                data = (form_data(page) if is_shown else {}) | data
            json = {"content_type": "application/json"} if "/api/" in action.url else {}
            response = getattr(client, action.method)(action.url, data, **json)
            if response.status_code == 200 and "confirmed" in (response.context or {}):
                data |= {"confirmed": response.context["confirmed"]}
                response = client.post(action.url, data)
            if (action.value() != before) != (profile in action.done_by):
                wrong.append((action.url, action.data, response.status_code))
            transaction.set_rollback(True)

    assert wrong == []
    assert Message.objects.count() == before_all

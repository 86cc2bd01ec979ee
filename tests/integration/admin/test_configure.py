"""The right to configure a flow: its steps, its queues, and the scripts that no other flow runs."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse

from flows.models import Flow, Queue, RoleMapping, Step
from scripts.admin.confirmation import CONFIRMED
from scripts.models import Library, Script, Secret
from tests.integration.admin.pages import form_data, messages_of

CODE = "def run(message, context): return message"


@pytest.fixture
def other(world):
    """Return a flow that the user has no right to, with its own script."""
    flow = Flow.objects.create(name="payments")
    script = Script.objects.create(name="pay", code=CODE, secrets=["bank.key"])
    queue = Queue.objects.create(name="payments")
    Step.objects.create(flow=flow, name="pay", script=script, queue=queue, position=0)
    return flow


@pytest.fixture
def configurator(staff_client, give_right, world, other):
    client = staff_client()
    give_right("configure", world.flow)
    return client


@pytest.fixture
def for_all(staff_client, give_right, world, other):
    client = staff_client()
    give_right("configure")
    return client


def page_of(obj, page="change"):
    meta = obj._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=[obj.pk])


def steps_page(flow, page, *args):
    return reverse(f"admin:flows_flow_{page}", args=[flow.pk, *args])


def step_data(script, queue, **values):
    given = {"script": script.name, "queue": queue.name, "threads": 1, "_confirmed": ""}
    return given | values


def new_step(**values):
    """Return the form of a new step with a new script and a new queue."""
    new = {"script_choice": "new", "queue_choice": "new", "language": "python", "code": CODE}
    return new | {"threads": 4} | values


def save(client, obj, **changes):
    page = page_of(obj)
    data = form_data(client.get(page)) | changes
    response = client.post(page, {name: value for name, value in data.items() if value is not None})
    obj.refresh_from_db()
    return response


def attempt(client, script, **changes) -> Any:
    data = form_data(client.get(page_of(script))) | changes | {"sample": "{}"}
    return client.post(reverse("admin:scripts_script_trial", args=[script.pk]), data).json()


def enter_secret():
    secret = Secret(name="bank.key")
    secret.set_value("swordfish")
    secret.save()


def permit(codename):
    user = User.objects.get(username="staff")
    user.user_permissions.add(Permission.objects.get(codename=codename))


def test_the_flow_its_queues_and_its_scripts_are_changed(configurator, world):
    saved = [
        save(configurator, world.flow, description="of the shop"),
        save(configurator, world.orders, size=77),
        save(configurator, world.script, code=f"{CODE}  # new"),
    ]

    assert [each.status_code for each in saved] == [302, 302, 302]
    assert (world.flow.description, world.orders.size) == ("of the shop", 77)
    assert world.script.code == f"{CODE}  # new"
    author = world.script.current_version.author
    assert author is not None
    assert author.username == "staff"


def test_steps_are_added_changed_and_removed(configurator, world):
    reserve, charge = world.flow.steps.all()
    data = step_data(reserve.script, reserve.queue, name="reserve", threads=9)

    responses = [
        configurator.post(steps_page(world.flow, "save_step", reserve.pk, "step"), data),
        configurator.post(steps_page(world.flow, "remove_step", charge.pk)),
        configurator.post(steps_page(world.flow, "add_step"), new_step(name="send")),
    ]

    assert [each.status_code for each in responses] == [302, 302, 302]
    steps = world.flow.steps.values_list("name", "threads")
    assert list(steps) == [("reserve", 9), ("send", 4)]


def test_a_new_step_runs_no_function_of_the_project(configurator, world, settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["os"]
    data = new_step(name="send", language="callable", code="os.system")

    response = configurator.post(steps_page(world.flow, "add_step"), data)

    assert response["X-Form-Outcome"] == "refused"
    assert world.flow.steps.count() == 2


def test_nothing_of_another_flow_is_seen_or_changed(configurator, other):
    step = other.steps.get()
    for obj in (other, step.queue, step.script, step.script.current_version):
        page = page_of(obj)

        assert configurator.get(page).status_code in {302, 403, 404}, page
        assert configurator.post(page, {"name": "mine"}).status_code in {302, 403, 404}, page
    listed = configurator.get(reverse("admin:scripts_script_changelist")).content.decode()
    assert "reserve-goods" in listed
    assert "pay" not in [each.name for each in Script.objects.filter(name__in=listed.split())]
    other.refresh_from_db()
    assert other.name == "payments"


@pytest.mark.parametrize("right", ["start", "watch", "operate"])
def test_a_flow_that_is_only_watched_shows_none_of_its_code(
    configurator, give_right, world, other, right
):
    give_right(right, other)
    step, own = other.steps.get(), world.flow.steps.first()
    Script.objects.filter(pk=step.script_id).update(code="def run(message, context): return 4711")

    page = configurator.get(page_of(other)).content.decode()
    panel = configurator.get(steps_page(other, "step", step.pk)).content.decode()
    own_panel = configurator.get(steps_page(world.flow, "step", own.pk)).content.decode()

    assert "4711" not in panel
    assert page_of(step.script) not in page + panel
    assert page_of(own.script) in own_panel


def test_pages_of_runs_lead_to_no_script_that_the_user_does_not_see(
    configurator, give_right, world, other
):
    give_right("operate", world.flow)
    RoleMapping.objects.filter(right="configure").update(flow=other)

    letter = configurator.get(page_of(world.dead_letter))
    run = configurator.get(page_of(world.failed)).content.decode()

    assert not letter.context["script_url"]
    assert not letter.context["trial_url"]
    assert "/scriptversion/" not in run


def test_a_dead_letter_of_a_shared_script_leads_to_its_code_and_not_to_its_bench(
    configurator, world, other
):
    spare = Queue.objects.create(name="more payments")
    Step.objects.create(flow=other, name="too", script=world.script, queue=spare, position=1)

    letter = configurator.get(page_of(world.dead_letter))

    assert configurator.get(letter.context["script_url"]).status_code == 200
    assert not letter.context["trial_url"]


def test_a_script_of_another_flow_too_is_seen_and_not_changed(configurator, world, other):
    spare = Queue.objects.create(name="more payments")
    Step.objects.create(flow=other, name="too", script=world.script, queue=spare, position=1)

    shown = configurator.get(page_of(world.script))
    sent = configurator.post(page_of(world.script), {"name": "mine", "code": CODE})
    tried = configurator.post(page_of(world.script, "trial"), {"code": CODE, "sample": "{}"})

    assert "used by a flow that you may not configure" in shown.content.decode()
    assert b'name="_save"' not in shown.content
    assert (sent.status_code, tried.status_code) == (403, 403)


def test_scripts_and_queues_of_other_flows_go_into_no_step(configurator, world, other):
    step = other.steps.get()
    for script, queue in ((step.script, world.spare), (world.script, step.queue)):
        chosen = step_data(script, queue, name="third")
        data = new_step(script_choice="existing", queue_choice="existing") | chosen
        reserve = world.flow.steps.get(name="reserve")

        added = configurator.post(steps_page(world.flow, "add_step"), data)
        saved = configurator.post(steps_page(world.flow, "save_step", reserve.pk, "step"), chosen)

        assert [each["X-Form-Outcome"] for each in (added, saved)] == ["refused"] * 2
        assert world.flow.steps.count() == 2
    query = "app_label=flows&model_name=step&field_name=script"
    offered = configurator.get(f"{reverse('admin:autocomplete')}?{query}").json()["results"]
    assert [each["text"] for each in offered] == ["reserve-goods"]


@pytest.mark.parametrize("model", ["flow", "queue", "script"])
def test_new_things_are_made_by_who_configures_every_flow(
    staff_client, give_right, world, other, model
):
    client = staff_client()
    app = "scripts" if model == "script" else "flows"
    add = reverse(f"admin:{app}_{model}_add")
    give_right("configure", world.flow)
    refused = client.get(add).status_code
    give_right("configure")

    data = form_data(client.get(add)) | {"name": "new"}
    made = client.post(add, data)

    assert (refused, made.status_code) == (403, 302)


def test_a_new_flow_gets_steps_of_any_script(for_all, world, other):
    add = reverse("admin:flows_flow_add")
    for_all.post(add, form_data(for_all.get(add)) | {"name": "new"})
    flow = Flow.objects.get(name="new")
    data = new_step(script_choice="existing", queue_choice="existing")
    data |= step_data(world.script, world.spare, name="one")

    response = for_all.post(steps_page(flow, "add_step"), data)

    assert response.status_code == 302
    assert flow.steps.get().script == world.script


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "reach",
    [
        {"network": "on"},
        {"network": "on", "allowed_hosts": "api.example.org"},
        {"network": "on", "private_addresses": "on", "allowed_hosts": "10.0.0.1"},
        {"secrets": ["bank.key"]},
        {"language": "callable", "code": "os.system"},
    ],
    ids=lambda reach: "+".join(map(str, reach.values())),
)
def test_the_right_lets_a_script_reach_nothing_new(configurator, world, settings, reach):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["os"]
    enter_secret()
    before = world.script.content()

    tried = attempt(configurator, world.script, **reach)
    saved = save(configurator, world.script, **reach)

    assert tried["refusals"]
    assert saved.status_code == 200
    assert world.script.content() == before


def test_hosts_that_a_script_calls_already_stay_and_are_reduced(configurator, world):
    world.script.network = True
    world.script.allowed_hosts = ["a.example.org", "b.example.org"]
    world.script.save()

    changed = save(configurator, world.script, code=f"{CODE}  # new")
    less = save(configurator, world.script, allowed_hosts="a.example.org")
    more = save(configurator, world.script, allowed_hosts="a.example.org\nb.example.org")

    assert (changed.status_code, less.status_code, more.status_code) == (302, 302, 200)
    assert world.script.allowed_hosts == ["a.example.org"]


def test_an_old_version_that_reached_more_is_not_restored(configurator, world):
    world.script.network, world.script.allowed_hosts = True, ["a.example.org"]
    world.script.save()
    version = world.script.current_version
    world.script.network = False
    world.script.save()

    configurator.post(page_of(version, "restore"), {"_form_submitted": "True"})

    world.script.refresh_from_db()
    assert world.script.network is False


def test_an_old_version_is_restored(configurator, world):
    version = world.script.current_version
    world.script.code = f"{CODE}  # new"
    world.script.save()

    response = configurator.post(page_of(version, "restore"), {"_form_submitted": "True"})

    world.script.refresh_from_db()
    assert response.status_code == 302
    assert world.script.code == CODE


def test_old_steps_bring_back_no_script_of_another_flow(configurator, world, other):
    pay = other.steps.get().script
    step = world.flow.steps.first()
    step.script, kept = pay, step.script
    step.save()
    with_pay = world.flow.make_version()
    step.script = kept
    step.save()
    without = world.flow.make_version()
    world.flow.steps.last().delete()
    world.flow.make_version()

    for version in (with_pay, without):
        configurator.post(page_of(version, "restore"), {"_form_submitted": "True"})

        assert not world.flow.steps.filter(script=pay).exists()
    assert world.flow.steps.count() == 2


def test_a_restored_flow_gives_its_roles_no_right_back(for_all, client, world, other):
    role = Group.objects.create(name="clerks")

    def restore(by):
        RoleMapping.objects.create(role=role, right="watch", flow=Flow.objects.get(name="payments"))
        Flow.objects.get(name="payments").delete()
        record = Flow.history.filter(name="payments", history_type="-").first()
        response = by.post(reverse("admin:flows_flow_restore", args=[record.pk]))
        return response.status_code, role.role_mappings.count()

    assert restore(for_all) == (302, 0)
    assert restore(client) == (302, 1)


def test_names_of_secrets_and_other_libraries_are_not_shown(configurator, world):
    enter_secret()
    Library.objects.create(name="hushed", code="x = 1")

    content = configurator.get(page_of(world.script)).content.decode()

    assert "bank.key" not in content
    assert "hushed" not in content


def test_a_permission_extends_the_reach(configurator, world):
    permit("use_secrets")
    enter_secret()

    refused = save(configurator, world.script, network="on", allowed_hosts="a.example.org")
    permit("change_script")
    saved = save(configurator, world.script, network="on", allowed_hosts="a.example.org")

    assert (refused.status_code, saved.status_code) == (200, 302)


def test_roles_and_rights_stay_closed(configurator, world):
    page = configurator.get(page_of(world.flow))

    assert "role_mappings-TOTAL_FORMS" not in form_data(page)
    for name in (
        "auth_group",
        "auth_user",
        "flows_rolemapping",
        "scripts_secret",
        "knox_authtoken",
    ):
        assert configurator.get(reverse(f"admin:{name}_changelist")).status_code == 403, name
        assert configurator.get(reverse(f"admin:{name}_add")).status_code == 403, name


def test_a_queue_of_the_flow_is_not_operated(configurator, world):
    configurator.post(page_of(world.orders, "pause"), {"_form_submitted": "True"})
    configurator.post(page_of(world.flow, "start"), {"payload": "{}"})

    world.orders.refresh_from_db()
    assert not world.orders.paused
    assert world.flow.versions.count() == 1


def test_note_about_a_name_gives_away_no_flow_that_the_user_does_not_see(configurator, world):
    answer = save(configurator, world.flow, name="PAYMENTS", **{CONFIRMED: ""})

    assert world.flow.name == "PAYMENTS"
    said = messages_of(configurator.get(answer.url))
    assert said
    assert "payments" not in str(said)

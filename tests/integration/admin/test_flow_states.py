"""The pages of the values that scripts have left in the state of a flow."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from flows.models import AuditEntry, Flow, FlowState, RoleMapping
from flows.store.flow_state import change_by_hand
from flows.testing import FlowKit
from scripts.protocol.flow_state import StateInvalid
from tests.integration.admin.pages import form_data, hidden_fields
from tests.integration.test_flow_state import assert_totals_are_right, configured, kept


def python(statement: str) -> str:
    return f"def run(message, context):\n    context.{statement}\n    return message\n"


def the_value(flow_kit: FlowKit) -> tuple[FlowState, str]:
    """Return a value that a script has left, and its page."""
    configured(flow_kit, python("state.set('cursor', 7, expires=3600)"))
    flow_kit.run("keeping", {})
    value = FlowState.objects.get()
    return value, reverse("admin:flows_flowstate_change", args=[value.pk])


def test_who_configures_a_flow_changes_a_value_of_its_state_after_a_question(
    flow_kit: FlowKit, admin_client: Any
):
    value, page = the_value(flow_kit)
    data = form_data(admin_client.get(page), confirmed=False) | {"value": '{"at": 9}'}

    asked = admin_client.post(page, data).content.decode()
    unchanged = kept()
    admin_client.post(page, {**data, "_confirmed": ""})

    changed, entry = FlowState.objects.get(), AuditEntry.objects.get(verb="change the state")
    assert "is run again" in asked or "are run again" in asked
    assert "does not expire" in asked
    assert unchanged == {"cursor": "7"}
    assert (changed.value, changed.expires_at) == ('{"at": 9}', None)
    assert changed.version != value.version
    assert (entry.before, entry.after) == ({"cursor": "7"}, {"cursor": '{"at": 9}'})
    assert_totals_are_right()


def test_what_is_no_value_of_a_state_is_refused_on_its_page(flow_kit: FlowKit, admin_client: Any):
    _, page = the_value(flow_kit)

    for text in ["{", "", "NaN", "[" * 2000 + "]" * 2000, '"' + "x" * 70_000 + '"']:
        answer = admin_client.post(page, form_data(admin_client.get(page)) | {"value": text})

        assert answer.status_code == 200, text[:20]
        assert answer.context["adminform"].form.errors["value"], text[:20]
        assert kept() == {"cursor": "7"}, text[:20]


def test_a_value_that_a_script_has_changed_meanwhile_is_not_overwritten(
    flow_kit: FlowKit, admin_client: Any
):
    _, page = the_value(flow_kit)
    opened = admin_client.get(page)
    data = form_data(opened) | hidden_fields(opened) | {"value": "9"}
    configured(flow_kit, python("state.set('cursor', 8)"))
    flow_kit.run("keeping", {})

    answer = admin_client.post(page, data)

    assert answer["X-Form-Outcome"] == "conflict"
    assert kept() == {"cursor": "8"}


def test_a_value_that_changes_while_it_is_saved_is_not_overwritten(flow_kit: FlowKit):
    value, _ = the_value(flow_kit)
    configured(flow_kit, python("state.set('cursor', 8)"))
    flow_kit.run("keeping", {})

    with pytest.raises(StateInvalid, match="meanwhile"):
        change_by_hand(value.flow_id, "cursor", "9", flow_kit.now(), seen=value.version)

    assert kept() == {"cursor": "8"}


def test_who_configures_a_flow_deletes_a_value_of_its_state(flow_kit: FlowKit, admin_client: Any):
    value, _ = the_value(flow_kit)
    page = reverse("admin:flows_flowstate_delete", args=[value.pk])

    asked = admin_client.get(page).content.decode()
    admin_client.post(page, {"post": "yes"})

    entry = AuditEntry.objects.get(verb="change the state")
    assert "find no value" in asked
    assert kept() == {}
    assert (entry.before, entry.after) == ({"cursor": "7"}, {"cursor": None})
    assert_totals_are_right()


def test_a_value_that_no_key_decrypts_hides_no_others_in_the_list(
    flow_kit: FlowKit, admin_client: Any, settings: Any
):
    settings.ASYNCENGINE_PAYLOAD_KEYS = [Fernet.generate_key().decode()]
    value, _ = the_value(flow_kit)
    settings.ASYNCENGINE_PAYLOAD_KEYS = []
    change_by_hand(value.flow_id, "total", '"counted"', flow_kit.now())

    page = admin_client.get(reverse("admin:flows_flowstate_changelist"))

    assert page.status_code == 200
    for text in ("cursor", "total", "counted"):
        assert text in page.content.decode()


@pytest.mark.parametrize(("right", "status"), [("configure", 200), ("operate", 403), (None, 403)])
def test_only_the_right_to_configure_its_flow_opens_a_value_of_a_state(
    flow_kit: FlowKit, django_user_model: Any, right: str | None, status: int
):
    value, page = the_value(flow_kit)
    other = Flow.objects.create(name="other")
    user = django_user_model.objects.create_user("carl", is_staff=True)
    role = Group.objects.create(name="role")
    user.groups.add(role)
    for flow, given in ((value.flow, right), (other, "watch")):
        if given:
            RoleMapping.objects.create(role=role, right=given, flow=flow)
    client = Client()
    client.force_login(user)
    deletion = reverse("admin:flows_flowstate_delete", args=[value.pk])

    opened = [client.get(each).status_code for each in (page, deletion)]
    client.post(deletion, {"post": "yes"})

    assert opened == [status, status]
    assert bool(kept()) == (status == 403)


def test_a_value_of_another_flow_is_not_there_for_those_who_configure_one(
    flow_kit: FlowKit, django_user_model: Any
):
    _, page = the_value(flow_kit)
    user = django_user_model.objects.create_user("carl", is_staff=True)
    role = Group.objects.create(name="role")
    user.groups.add(role)
    other = Flow.objects.create(name="other")
    RoleMapping.objects.create(role=role, right="configure", flow=other)
    client = Client()
    client.force_login(user)

    answer = client.get(page)

    assert (answer.status_code, answer["Location"]) == (302, reverse("admin:index"))


def test_the_page_of_a_flow_leads_to_its_states_where_it_has_any(
    flow_kit: FlowKit, admin_client: Any
):
    value, _ = the_value(flow_kit)
    other = Flow.objects.create(name="other")

    pages = [reverse("admin:flows_flow_change", args=[each.pk]) for each in (value.flow, other)]
    states = [reverse("admin:flows_flow_states", args=[each.pk]) for each in (value.flow, other)]
    led = admin_client.get(states[0], follow=True).content.decode()

    assert states[0] in admin_client.get(pages[0]).content.decode()
    assert states[1] not in admin_client.get(pages[1]).content.decode()
    assert "cursor" in led
    assert "<h1" in led


def test_a_trial_of_a_flow_shows_the_state_that_it_would_leave(
    flow_kit: FlowKit, admin_client: Any
):
    configured(flow_kit, python("state.set('cursor', 7)"))
    flow = Flow.objects.get(name="keeping")
    page = reverse("admin:flows_flow_start", args=[flow.pk])

    shown = admin_client.post(page, {"payload": "{}", "_try": "1"}).content.decode()

    assert "State that it would leave" in shown
    assert "<code>cursor</code> 7" in shown
    assert kept() == {}

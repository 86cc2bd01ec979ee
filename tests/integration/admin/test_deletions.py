"""What a deletion says before it is made, and what it refuses."""

from __future__ import annotations

from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils.html import strip_tags
from knox.models import AuthToken

from flows.models import Flow, FlowTotals, Message, Queue, QueueState
from flows.monitoring import impact
from scripts.models import Script
from tests.builders import ECHO, make_script
from tests.integration.admin.pages import form_data, messages_of

pytestmark = pytest.mark.django_db


def deletion_page(obj: Any) -> str:
    return f"/admin/{obj._meta.app_label}/{obj._meta.model_name}/{obj.pk}/delete/"


def text_of(client: Client, obj: Any) -> str:
    return unescape(client.get(deletion_page(obj)).content.decode())


def test_deletion_of_a_flow_says_what_it_touches_with_counts(client, world):
    FlowTotals.objects.create(
        flow_name="order-processing", accepted=20, completed=8, letters_made=250
    )

    text = text_of(client, world.flow)

    assert "Callers of /async/api/flows/order-processing/start get 404 from then on." in text
    assert "12 runs are under way. They go on to their end." in text
    assert "12 messages wait in its queues." in text
    assert "250 dead letters are open." in text
    assert "Its steps (2), its schedules (0) and the rights of roles to it (1) are deleted." in text


def test_flow_is_deactivated_instead(client, world):
    page = deletion_page(world.flow)

    response = client.post(page, {"post": "yes", "_deactivate": ""})

    assert response.status_code == 302
    assert Flow.objects.get(pk=world.flow.pk).active is False
    assert "Deactivate instead" not in client.get(page).content.decode()


def test_flow_is_deleted_when_that_is_chosen(client, world):
    assert client.post(deletion_page(world.flow), {"post": "yes"}).status_code == 302

    assert not Flow.objects.exists()
    assert Script.objects.exists()


def test_user_without_the_right_to_the_mappings_of_a_flow_deletes_none(
    staff_client, give_right, world
):
    staff = staff_client("flows.delete_flow", "flows.view_flow")
    give_right("operate")

    response = staff.post(deletion_page(world.flow), {"post": "yes"})

    assert response.status_code == 403
    assert Flow.objects.exists()


def test_queue_in_use_names_the_step_and_counts_messages_without_listing_them(
    client, world, django_assert_max_num_queries
):
    QueueState.objects.filter(queue=world.billing).update(depth=1_000_000, delayed=5)

    with django_assert_max_num_queries(20):
        text = text_of(client, world.billing)

    assert "It feeds the step charge of the flow order-processing." in text
    assert "1,000,005 messages are in it." in text
    assert client.post(deletion_page(world.billing), {"post": "yes"}).status_code == 200
    assert Queue.objects.filter(pk=world.billing.pk).exists()


def test_queue_that_is_not_used_is_deleted(client, world):
    assert client.post(deletion_page(world.spare), {"post": "yes"}).status_code == 302

    assert not Queue.objects.filter(pk=world.spare.pk).exists()


def test_many_dead_letters_of_a_queue_are_not_counted_to_the_end(world, monkeypatch):
    monkeypatch.setattr(impact, "MOST_COUNTED", 0)

    assert impact.letters_of_queue(world.billing) == "more than 0"
    assert impact.letters_of_queue(world.spare) == "0"


def test_script_in_use_names_the_flows(client, world):
    text = text_of(client, world.script)

    assert "It is used by order-processing, step reserve." in text
    assert client.post(deletion_page(world.script), {"post": "yes"}).status_code == 200
    assert Script.objects.filter(pk=world.script.pk).exists()


def test_script_that_is_not_used_is_deleted(client, db):
    script = make_script("unused", ECHO)

    assert client.post(deletion_page(script), {"post": "yes"}).status_code == 302


def test_deletion_of_many_from_the_list_is_refused_where_one_is_in_use(client, world):
    chosen = [world.billing.pk, world.spare.pk]
    action = {"action": "delete_selected", "_selected_action": chosen, "post": "yes"}

    response = client.post("/admin/flows/queue/", action)

    assert "It feeds the step charge" in response.content.decode()
    assert Queue.objects.filter(pk__in=chosen).count() == 2


def test_no_message_is_read_for_the_page(client, world, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("the page reads messages")

    monkeypatch.setattr(Message, "from_db", fail)

    assert client.get(deletion_page(world.billing)).status_code == 200


def test_last_superuser_is_not_deleted_deactivated_or_made_an_ordinary_user(client, superuser):
    page = f"/admin/auth/user/{superuser.pk}/change/"
    data = form_data(client.get(page))

    deleted = client.post(deletion_page(superuser), {"post": "yes"})
    demoted = client.post(page, {k: v for k, v in data.items() if k != "is_superuser"})
    inactive = client.post(page, {k: v for k, v in data.items() if k != "is_active"})
    action = {"action": "deactivate", "_selected_action": [superuser.pk]}
    chosen = client.post("/admin/auth/user/", action | {"_confirmed": "yes"}, follow=True)

    for response in (deleted, demoted, inactive):
        assert "last active superuser" in response.content.decode()
    assert any("last active superuser" in message for message in messages_of(chosen))
    superuser.refresh_from_db()
    assert superuser.is_superuser
    assert superuser.is_active


def test_superuser_beside_another_may_go(client, superuser):
    other = User.objects.create_superuser("other", password="secret")

    assert client.post(deletion_page(other), {"post": "yes"}).status_code == 302


def test_inactive_superuser_is_no_other_one(client, superuser):
    User.objects.create_superuser("other", password="secret", is_active=False)

    response = client.post(deletion_page(superuser), {"post": "yes"})

    assert "last active superuser" in response.content.decode()


def test_deletion_of_a_role_names_the_users_who_lose_it(client, db):
    role = Group.objects.create(name="shop")
    for number in range(23):
        user = User.objects.create_user(f"user-{number:02}", password="secret")
        user.groups.add(role)

    text = text_of(client, role)

    assert "Users who lose the role shop: user-00, user-01" in text
    assert "user-19 and 3 more" in text


def test_deletion_of_a_user_names_what_goes_with_it_and_no_digest_of_a_token(client, world):
    user = User.objects.create_user("leaver")
    user.groups.add(Group.objects.create(name="leavers"))
    token, _ = AuthToken.objects.create(user)

    text = text_of(client, user)

    assert f">{token.token_key}… of leaver</a>" in client.get(deletion_page(user)).content.decode()
    # Its address alone has it.
    assert token.digest not in strip_tags(text)
    assert "User_groups" not in text
    assert "Delete user" in text


def test_deletion_of_a_role_names_its_users(client, world):
    role = Group.objects.create(name="leavers")
    User.objects.create_user("leaver").groups.add(role)

    text = text_of(client, role)

    assert "Users who lose the role leavers: leaver" in text
    assert "User_groups" not in text
    assert "Delete role" in text

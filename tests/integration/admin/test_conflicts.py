"""Two users save the same page: the second sees what the first has saved."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.db.models import ProtectedError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import Schedule
from knox.models import AuthToken

from flows import engine
from flows.models import Queue, RoleMapping
from scripts.models import Library, Script, Secret
from tests.integration.admin.pages import act_on, form_data


@pytest.fixture
def other(db):
    """Return the client of a second superuser."""
    client = Client()
    client.force_login(User.objects.create_superuser("other", password="secret"))
    return client


def page_of(obj, page="change"):
    meta = obj._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=[obj.pk])


def opened(client, obj):
    """Return what a browser would send back from the page."""
    response = client.get(page_of(obj))
    (seen,) = re.findall(r'name="_seen" value="([0-9a-f]{64})"', response.content.decode())
    return form_data(response) | {"_seen": seen}


def hidden_fields(response):
    pairs = re.findall(
        r'<input type="hidden" name="([^"]+)" value="([^"]*)">', response.content.decode()
    )
    return {
        unescape(name): unescape(value) for name, value in pairs if name != "csrfmiddlewaretoken"
    }


@pytest.fixture
def objects(world):
    secret = Secret(name="shop.key")
    secret.set_value("swordfish")
    secret.save()
    now = timezone.now()
    return {
        "flow": world.flow,
        "queue": world.spare,
        "script": world.script,
        "library": Library.objects.create(name="prices", code="VAT = 19"),
        "secret": secret,
        "mapping": world.role.role_mappings.get(),
        "role": Group.objects.create(name="clerks"),
        "user": User.objects.create_user("clerk", password="secret"),
        "schedule": Schedule.objects.create(
            name="s", func="flows.tasks.retention.purge", next_run=now
        ),
    }


# By kind: what the first saves, what the second saves, and how to read both.
CHANGES = {
    "flow": ({"description": "first"}, {"max_age": "5 min"}, "description", "first"),
    "queue": ({"size": "600"}, {"max_deliveries": "4"}, "size", 600),
    "script": ({"description": "first"}, {"memory_mb": "128"}, "description", "first"),
    "library": ({"code": "VAT = 20"}, {"code": "VAT = 7"}, "code", "VAT = 20"),
    "secret": ({"description": "first"}, {"description": "second"}, "description", "first"),
    "mapping": ({"right": "watch"}, {"right": "operate"}, "right", "watch"),
    "role": ({"name": "first"}, {"name": "second"}, "name", "first"),
    "user": ({"email": "first@example.org"}, {"first_name": "B"}, "email", "first@example.org"),
    "schedule": ({"minutes": "7"}, {"repeats": "3"}, "minutes", 7),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", CHANGES)
def test_the_second_to_save_sees_what_the_first_has_saved_and_may_save_over_it(
    client, other, objects, kind
):
    obj = objects[kind]
    first, second, field, value = CHANGES[kind]
    mine, theirs = opened(client, obj), opened(other, obj)

    assert other.post(page_of(obj), theirs | first).status_code == 302
    conflict = client.post(page_of(obj), mine | second)

    obj.refresh_from_db()
    assert conflict["X-Form-Outcome"] == "conflict"
    assert getattr(obj, field) == value
    shown = conflict.content.decode()
    assert str(next(iter(first.values()))) in shown
    assert str(next(iter(second.values()))) in shown
    if kind != "schedule":
        assert "other saved" in shown

    saved = client.post(page_of(obj), hidden_fields(conflict))

    obj.refresh_from_db()
    assert saved.status_code == 302
    for name, value in second.items():
        assert str(getattr(obj, name)) == value or name == "max_age"


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", CHANGES)
def test_a_page_that_no_other_user_saved_is_saved(client, objects, kind):
    obj = objects[kind]

    response = client.post(page_of(obj), opened(client, obj) | CHANGES[kind][1])

    assert response.status_code == 302


def test_what_two_save_alike_is_no_conflict(client, other, objects):
    queue = objects["queue"]
    mine, theirs = opened(client, queue), opened(other, queue)
    other.post(page_of(queue), theirs | {"size": "600"})

    assert client.post(page_of(queue), mine | {"size": "600"}).status_code == 302


def steps_page(world, name, *args):
    return reverse(f"admin:flows_flow_{name}", args=[world.flow.pk, *args])


def test_a_step_that_another_has_added_is_not_lost(client, other, world):
    mine = opened(client, world.flow)
    added = {
        "name": "pack",
        "script_choice": "existing",
        "script": world.script.name,
        "queue_choice": "existing",
        "queue": world.spare.name,
        "language": "python",
        "threads": 1,
    }
    assert other.post(steps_page(world, "add_step"), added).status_code == 302

    response = client.post(page_of(world.flow), mine | {"description": "new"})

    assert response.status_code == 302
    assert world.flow.steps.count() == 3


def test_a_step_that_another_has_removed_does_not_come_back(client, other, world):
    mine = opened(client, world.flow)
    charge = world.flow.steps.get(name="charge")
    other.post(steps_page(world, "remove_step", charge.pk))

    client.post(page_of(world.flow), mine | {"description": "new"})
    response = client.post(steps_page(world, "move_step"), {"move": f"{charge.pk}:0"})

    assert response.status_code == 404
    assert world.flow.steps.count() == 1


def test_steps_that_another_has_changed_are_not_moved(client, other, world):
    charge, reserve = (world.flow.steps.get(name=name) for name in ("charge", "reserve"))
    seen = f"{reserve.pk},{charge.pk}"
    other.post(
        steps_page(world, "move_step"), {"move": f"{charge.pk}:0", "order": seen, "_confirmed": ""}
    )

    response = client.post(
        steps_page(world, "move_step"),
        {"move": f"{charge.pk}:1", "order": seen},
        headers={"HX-Request": "true"},
    )

    assert response["X-Form-Outcome"] == "conflict"
    assert "another user has changed the steps" in response["HX-Trigger"]
    assert [step.name for step in world.flow.steps.all()] == ["charge", "reserve"]


def test_a_right_that_another_has_taken_away_does_not_come_back(client, other, world):
    mine = opened(client, world.role)
    world.role.role_mappings.all().delete()

    response = client.post(page_of(world.role), mine | {"name": "new"})

    assert response["X-Form-Outcome"] == "conflict"
    assert not RoleMapping.objects.filter(role=world.role).exists()


def test_a_role_that_another_has_given_is_not_lost(client, other, objects):
    user = objects["user"]
    mine, theirs = opened(client, user), opened(other, user)
    other.post(page_of(user), theirs | {"groups": [objects["role"].pk]})

    response = client.post(page_of(user), mine | {"email": "b@example.org"})

    assert response["X-Form-Outcome"] == "conflict"
    assert list(user.groups.all()) == [objects["role"]]


def test_a_permission_that_another_has_taken_away_does_not_come_back(client, other, objects):
    role = objects["role"]
    role.permissions.add(Permission.objects.first())
    mine, theirs = opened(client, role), opened(other, role)
    other.post(page_of(role), theirs | {"permissions": []})

    response = client.post(page_of(role), mine | {"name": "new"})

    assert response["X-Form-Outcome"] == "conflict"
    assert not role.permissions.exists()


def test_a_library_that_another_has_chosen_is_not_lost(client, other, objects):
    script, library = objects["script"], objects["library"]
    mine, theirs = opened(client, script), opened(other, script)
    other.post(page_of(script), theirs | {"libraries": [library.pk]})

    response = client.post(page_of(script), mine | {"description": "mine"})

    script = Script.objects.get(pk=script.pk)
    assert response["X-Form-Outcome"] == "conflict"
    assert script.libraries == [library]


def test_a_secret_that_another_has_changed_keeps_that_value_and_shows_none(client, other, objects):
    secret = objects["secret"]
    mine, theirs = opened(client, secret), opened(other, secret)
    other.post(page_of(secret), theirs | {"value": "their-value"})

    response = client.post(page_of(secret), mine | {"value": "my-value"})

    secret.refresh_from_db()
    content = response.content.decode()
    assert response["X-Form-Outcome"] == "conflict"
    assert secret.value() == "their-value"
    for value in ("their-value", "my-value", "swordfish", secret.encrypted):
        assert value not in content
    assert "Save yours" not in content


def test_an_error_in_the_form_does_not_hide_the_conflict(client, other, objects):
    queue = objects["queue"]
    mine, theirs = opened(client, queue), opened(other, queue)

    refused = client.post(page_of(queue), mine | {"size": "none"})
    seen = hidden_fields(refused)["_seen"]
    other.post(page_of(queue), theirs | {"size": "600"})
    response = client.post(page_of(queue), mine | {"size": "700", "_seen": seen})

    assert refused.status_code == 200
    assert response["X-Form-Outcome"] == "conflict"


def test_what_the_engine_changes_meanwhile_is_no_conflict(client, superuser, objects):
    queue = objects["queue"]
    mine = opened(client, queue)
    engine.pause(queue, user=superuser)

    assert client.post(page_of(queue), mine | {"size": "600"}).status_code == 302
    assert Queue.objects.get(pk=queue.pk).paused


def test_a_login_meanwhile_is_no_conflict(client, objects):
    user = objects["user"]
    mine = opened(client, user)
    Client().force_login(user)

    assert client.post(page_of(user), mine | {"email": "b@example.org"}).status_code == 302
    user.refresh_from_db()
    assert user.last_login is not None


# Users who are named


def test_a_user_who_has_saved_something_is_not_deleted_with_the_record(client, other, objects):
    other.post(page_of(objects["queue"]), opened(other, objects["queue"]) | {"size": "600"})
    user = User.objects.get(username="other")
    entries = LogEntry.objects.count()

    asked = client.get(page_of(user, "delete")).content.decode()
    client.post(page_of(user, "delete"), {"post": "yes"})
    client.post(
        reverse("admin:auth_user_changelist"),
        {"action": "delete_selected", "_selected_action": [user.pk], "post": "yes"},
    )

    assert "Log entries that name other. Deactivate the user instead." in asked
    assert User.objects.filter(pk=user.pk).exists()
    assert LogEntry.objects.count() >= entries
    with pytest.raises(ProtectedError, match="log entries"), transaction.atomic():
        user.delete()


def test_a_user_whom_a_run_or_a_version_names_is_not_deleted(world, superuser):
    world.completed.started_by = superuser
    world.completed.save()

    with pytest.raises(ProtectedError, match="runs"), transaction.atomic():
        superuser.delete()

    world.completed.refresh_from_db()
    assert world.completed.started_by == superuser


def test_a_user_who_has_done_nothing_is_deleted_with_the_tokens(client, objects):
    user = objects["user"]
    AuthToken.objects.create(user)

    response = client.post(page_of(user, "delete"), {"post": "yes"})

    assert response.status_code == 302
    assert not User.objects.filter(pk=user.pk).exists()
    assert not AuthToken.objects.exists()


def test_users_are_deactivated_from_the_list(client, other, objects):
    act_on(client, reverse("admin:auth_user_changelist"), "deactivate", objects["user"])

    objects["user"].refresh_from_db()
    assert objects["user"].is_active is False

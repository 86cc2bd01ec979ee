"""An administrator sees the Configuration Manager with the rights of another user, read-only."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from flows.models import AuditEntry, Flow
from tests.integration.admin.pages import form_data


@pytest.fixture
def alice(staff_client, give_right, world) -> User:
    Flow.objects.create(name="hushhush")
    staff_client()
    give_right("watch", world.flow)
    return User.objects.get(username="staff")


@pytest.fixture
def own_view() -> str:
    return reverse("admin:flows_rolemapping_own_view")


def see_as(client, user):
    url = reverse("admin:auth_user_see_as", args=[user.pk])
    return client.post(url, {"_form_submitted": "True"})


def test_the_pages_are_those_of_the_user_and_say_so(client, alice, world):
    before = client.get(reverse("admin:flows_flow_changelist")).text

    begun = see_as(client, alice)

    flows = client.get(reverse("admin:flows_flow_changelist"))
    page = client.get(reverse("admin:flows_flow_change", args=[world.flow.pk]))
    assert begun.headers["Location"] == "/admin/"
    assert "hushhush" in before
    assert "hushhush" not in flows.text
    for response in (flows, page, client.get("/admin/")):
        assert "you see the Configuration Manager as <strong>staff</strong>" in response.text
        assert "Back to my own pages" in response.text
    assert b'name="_save"' not in page.content
    assert client.get(reverse("admin:auth_user_changelist")).status_code == 403
    assert client.get("/async/api/flows").json()["results"][0]["rights"] == ["watch"]


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_every_unsafe_method_is_refused(client, alice, world, method):
    alice.is_superuser = True
    alice.save()
    see_as(client, alice)
    url = reverse("admin:flows_flow_change", args=[world.flow.pk])
    pause = reverse("admin:flows_flow_pause", args=[world.flow.pk])
    send = getattr(client, method)

    answers = [
        send(url, data={"name": "mine"}),
        send(pause, data={"_form_submitted": "True"}, headers={"HX-Request": "true"}),
        send("/admin/password_change/", data={}),
        send("/async/api/start?flowName=order-processing", data={}),
        send("/async/api/auth/token", data={}),
    ]

    assert [answer.status_code for answer in answers] == [403] * len(answers)
    assert (
        "Nothing can be changed while you see the Configuration Manager as staff" in answers[0].text
    )
    assert answers[1].headers["HX-Refresh"] == "true"
    world.flow.refresh_from_db()
    assert (world.flow.name, world.flow.paused) == ("order-processing", False)


def test_the_way_back_leads_to_the_own_rights(client, alice, own_view):
    see_as(client, alice)

    asked = client.get(own_view)
    still = client.get(reverse("admin:auth_user_changelist")).status_code
    back = client.post(own_view)

    assert (asked.status_code, still) == (302, 403)
    assert back.headers["Location"] == reverse("admin:auth_user_change", args=[alice.pk])
    page = client.get(back.headers["Location"])
    assert page.status_code == 200
    assert "Back to my own pages" not in page.text
    save = client.post(back.headers["Location"], form_data(page) | {"first_name": "Alice"})
    assert save.status_code == 302


def test_only_an_administrator_sees_as_another_user(staff_client, superuser, alice):
    User.objects.filter(pk=alice.pk).update(username="alice")
    client = staff_client("auth.view_user", "auth.change_user")

    assert see_as(client, alice).status_code == 403
    assert see_as(client, superuser).status_code == 403
    assert (
        "See as this user"
        not in client.get(reverse("admin:auth_user_change", args=[alice.pk])).text
    )


@pytest.mark.parametrize("field", ["is_active", "is_staff"])
def test_a_user_who_may_not_enter_is_not_seen_as(client, alice, superuser, field):
    setattr(alice, field, False)
    alice.save()

    assert see_as(client, alice).status_code == 403
    assert see_as(client, superuser).status_code == 403


@pytest.mark.parametrize("lost", ["is_superuser", "is_staff", "is_active"])
def test_who_is_no_administrator_any_more_has_the_own_rights_again(client, alice, superuser, lost):
    see_as(client, alice)
    setattr(superuser, lost, False)
    superuser.save()

    changed = client.post("/admin/", {})
    page = client.get(reverse("admin:flows_flow_changelist"))

    assert changed.status_code == 403
    assert "order-processing" not in page.text
    assert "as <strong>staff" not in page.text


@pytest.mark.parametrize("change", ["deleted", "inactive"])
def test_a_user_who_is_gone_meanwhile_ends_it_and_a_change_is_refused_still(client, alice, change):
    see_as(client, alice)
    if change == "deleted":
        User.objects.filter(pk=alice.pk).delete()
    else:
        User.objects.filter(pk=alice.pk).update(is_active=False)

    refused = client.post(reverse("admin:flows_flow_add"), {"name": "new"})
    page = client.get(reverse("admin:flows_flow_changelist"))

    assert refused.status_code == 403
    assert "hushhush" in page.text
    assert "You see your own pages again" in page.text


def test_it_ends_with_the_session_and_with_a_new_login(client, alice, superuser):
    see_as(client, alice)
    client.force_login(superuser)
    again = client.get(reverse("admin:auth_user_changelist")).status_code

    see_as(client, alice)
    out = client.post(reverse("admin:logout"))
    client.force_login(superuser)

    assert (again, out.status_code) == (200, 200)
    assert client.get(reverse("admin:auth_user_changelist")).status_code == 200


def test_a_session_of_another_administrator_is_not_taken_over(client, alice):
    see_as(client, alice)
    session = client.session
    other = User.objects.create_superuser("other", password="secret")
    session["see_as"] = {"user": str(alice.pk), "viewer": str(other.pk)}
    session.save()

    assert client.get(reverse("admin:auth_user_changelist")).status_code == 200


def test_both_ends_are_in_the_audit_log_under_the_own_name(client, alice, own_view):
    see_as(client, alice)
    client.post(own_view)

    entries = AuditEntry.objects.filter(verb="see as").order_by("pk")
    assert [(each.actor, each.name) for each in entries] == [("root", "staff")] * 2


def test_requests_without_a_session_read_none(db, django_assert_num_queries):
    with django_assert_num_queries(0):
        Client().get("/async/health/live")

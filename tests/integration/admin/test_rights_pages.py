"""The matrix of rights, profiles, and the rights that a user has in effect."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from flows.access.profiles import RIGHTS_OF, Profile, profile_of, role_with
from flows.admin.matrix import FLOWS_A_PAGE, ROLES_A_PAGE
from flows.models import Flow, Right, RoleMapping

MATRIX = "admin:flows_rolemapping_matrix"
MAPS = tuple(f"flows.{verb}_rolemapping" for verb in ("view", "add", "change", "delete"))
USERS = ("auth.view_user", "auth.change_user")


def switch(client, role, flow, right, state):
    value = f"{role.pk}:{flow.pk if flow else ''}:{right}:{state}"
    return client.post(reverse(MATRIX), {"set": value})


def rights_of(role):
    return set(role.role_mappings.values_list("right", "flow"))


def give(client, kind, target, profile, *flows, **more):
    url = f"{reverse('admin:flows_rolemapping_profile')}?{kind}={target.pk}"
    return client.post(url, {"profile": profile, "flows": list(flows), "may_enter": "on"} | more)


@pytest.fixture
def clerk(db):
    return User.objects.create_user("clerk", password="secret")


@pytest.mark.parametrize("right", Right.values)
def test_a_switch_gives_a_right_and_takes_it_again(client, world, right):
    role = Group.objects.create(name="clerks")

    given = switch(client, role, world.flow, right, "on")
    twice = switch(client, role, world.flow, right, "on")
    everywhere = switch(client, role, None, right, "on")
    both = rights_of(role)
    taken = switch(client, role, world.flow, right, "off")

    assert [each.status_code for each in (given, twice, everywhere, taken)] == [200] * 4
    assert both == {(right, world.flow.pk), (right, None)}
    assert rights_of(role) == {(right, None)}
    assert f"clerks may now {right} order-processing" in given.text
    assert f"clerks may no longer {right} order-processing" in taken.text


def test_the_matrix_shows_what_is_given_and_what_is_included(client, world):
    role = Group.objects.create(name="clerks")
    RoleMapping.objects.create(role=role, right="configure", flow=world.flow)

    rows = client.get(reverse(MATRIX)).context["rows"]

    (cell,) = [
        cell for row in rows for cell in row.cells if (cell.role, cell.flow) == (role, world.flow)
    ]
    shown = {each.right: (each.is_on, each.implied_by) for each in cell.switches}
    assert shown["configure"] == (True, "")
    assert shown["watch"] == (False, "configure")
    assert shown["start"] == shown["operate"] == (False, "")


def test_the_matrix_is_bounded_whatever_there_is(client, world):
    def ask(**query):
        with CaptureQueriesContext(connection) as queries:
            response = client.get(reverse(MATRIX), query)
        return response, len(queries)

    _, before = ask()
    flows = Flow.objects.bulk_create(Flow(name=f"flow {n:03}") for n in range(200))
    roles = Group.objects.bulk_create(Group(name=f"role {n:02}") for n in range(30))
    RoleMapping.objects.bulk_create(
        RoleMapping(role=role, flow=flow, right="watch") for role in roles for flow in flows
    )

    full, after = ask()
    second, _ = ask(p="2", rp="2")
    found, _ = ask(flow="FLOW 007", role="role 29")

    assert after <= before
    rows = full.context["rows"]
    assert len(rows) == 1 + FLOWS_A_PAGE
    assert all(len(row.cells) == ROLES_A_PAGE for row in rows)
    assert rows[0].flow is None
    assert second.context["rows"][1].flow != rows[1].flow
    assert [(row.flow and row.flow.name, len(row.cells)) for row in found.context["rows"]] == [
        (None, 1),
        ("flow 007", 1),
    ]


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "1",
        "x:1:watch:on",
        "1:1:fly:on",
        "1:1:watch:yes",
        "1:-1:watch:on",
        f"{'9' * 40}::watch:on",
    ],
)
def test_a_switch_that_is_none_is_refused(client, world, sent):
    assert client.post(reverse(MATRIX), {"set": sent}).status_code == 400


def test_a_switch_of_what_is_gone_is_refused(client, world):
    for sent in ("999999::watch:on", f"{world.role.pk}:999999:watch:on"):
        assert client.post(reverse(MATRIX), {"set": sent}).status_code == 404


@pytest.mark.parametrize("permissions", [(), MAPS[:1], MAPS], ids=["none", "view", "all"])
def test_a_right_that_one_lacks_is_not_switched(staff_client, give_right, world, permissions):
    hidden = Flow.objects.create(name="hushhush")
    client = staff_client(*permissions)
    give_right("watch", world.flow)
    role = Group.objects.create(name="clerks")

    page = client.get(reverse(MATRIX))
    results = {
        (right, flow.name if flow else ""): switch(client, role, flow, right, "on").status_code
        for right in Right.values
        for flow in (world.flow, None, hidden)
    }

    assert page.status_code == (200 if permissions else 403)
    assert "hushhush" not in page.text
    allowed = {key for key, status in results.items() if status == 200}
    assert allowed == ({("watch", "order-processing")} if permissions == MAPS else set())
    assert rights_of(role) == ({("watch", world.flow.pk)} if permissions == MAPS else set())
    assert results["watch", "hushhush"] in {403, 404}


@pytest.mark.parametrize("profile", list(RIGHTS_OF))
def test_a_role_gets_exactly_the_rights_of_a_profile(client, world, profile):
    role = Group.objects.create(name="clerks")
    RoleMapping.objects.create(role=role, right="start", flow=world.flow)
    RoleMapping.objects.create(role=role, right="start", flow=None)

    response = give(client, "role", role, profile, world.flow.pk)

    assert response.status_code == 302
    expected = {(right, world.flow.pk) for right in RIGHTS_OF[profile]}
    assert rights_of(role) == expected | {("start", None)}
    assert profile_of(RIGHTS_OF[profile]) == profile

    give(client, "role", role, "none", world.flow.pk, "*")

    assert rights_of(role) == set()


@pytest.mark.parametrize("profile", list(RIGHTS_OF))
def test_a_user_gets_a_profile_by_a_role_that_is_made_once(client, world, clerk, profile):
    other = User.objects.create_user("other")

    for user in (clerk, other):
        assert give(client, "user", user, profile, "*", world.flow.pk).status_code == 302

    names = set(clerk.groups.values_list("name", flat=True))
    label = Profile(profile).label
    assert names == {f"{label} of every flow", f"{label} of order-processing"}
    assert set(other.groups.all()) == set(clerk.groups.all())
    assert role_with(profile, world.flow) in clerk.groups.all()
    clerk.refresh_from_db()
    assert (clerk.is_staff, clerk.is_superuser) == (True, False)


def test_a_user_who_gets_a_profile_for_the_api_alone_stays_outside(client, world, clerk):
    give(client, "user", clerk, "viewer", "*", may_enter="")

    clerk.refresh_from_db()
    assert clerk.is_staff is False


def test_an_administrator_is_a_superuser_and_made_by_one(client, staff_client, world, clerk):
    manager = staff_client(*USERS)
    refused = give(manager, "user", clerk, "administrator")
    clerk.refresh_from_db()
    before = clerk.is_superuser

    given = give(client, "user", clerk, "administrator")

    clerk.refresh_from_db()
    assert (refused.status_code, given.status_code) == (200, 302)
    assert (before, clerk.is_superuser, clerk.is_staff) == (False, True, True)


def test_a_role_is_no_administrator(client, world):
    assert give(client, "role", world.role, "administrator").status_code == 200


@pytest.mark.parametrize("kind", ["role", "user"])
def test_a_profile_with_more_than_the_giver_has_is_refused(
    staff_client, give_right, world, clerk, kind
):
    client = staff_client(*USERS, *MAPS, "auth.view_group", "auth.change_group", "auth.add_group")
    give_right("watch", world.flow)
    target = Group.objects.create(name="clerks") if kind == "role" else clerk

    refused = [
        give(client, kind, target, profile, flow).status_code
        for profile in RIGHTS_OF
        for flow in ("*", world.flow.pk)
        if (profile, flow) != ("viewer", world.flow.pk)
    ]
    given = give(client, kind, target, "viewer", world.flow.pk)

    assert refused == [200] * 5
    assert given.status_code == 302
    roles = [target] if kind == "role" else list(clerk.groups.all())
    assert [rights_of(role) for role in roles] == [{("watch", world.flow.pk)}]


def test_a_giver_who_makes_no_roles_uses_those_that_are_there(
    staff_client, give_right, world, clerk
):
    client = staff_client(*USERS)
    give_right("watch")
    refused = give(client, "user", clerk, "viewer", world.flow.pk)
    role = Group.objects.create(name="lookers")
    RoleMapping.objects.create(role=role, right="watch", flow=world.flow)

    given = give(client, "user", clerk, "viewer", world.flow.pk)

    assert (refused.status_code, given.status_code) == (200, 302)
    assert list(clerk.groups.all()) == [role]


def test_profiles_are_given_by_who_may_change_the_target(staff_client, give_right, world, clerk):
    client = staff_client("auth.view_user", "auth.view_group")
    give_right("watch")

    statuses = [
        give(client, "user", clerk, "viewer", "*").status_code,
        give(client, "role", world.role, "viewer", "*").status_code,
    ]

    assert statuses == [403, 403]


def test_each_right_is_shown_with_the_role_that_gives_it(client, staff_client, give_right, world):
    staff_client("flows.view_flow")
    give_right("configure", world.flow)
    give_right("start")
    user = User.objects.get(username="staff")

    response = client.get(reverse("admin:flows_rolemapping_of_user", args=[user.pk]))

    every, of_flow = response.context["rights_rows"]
    texts = {right: [each.text for each in origins] for right, origins in of_flow.cells()}
    assert texts == {
        "start": [],
        "watch": ["in configure, by configure order-processing"],
        "operate": [],
        "configure": ["configure order-processing"],
    }
    assert [right for right, origins in every.cells() if origins] == ["start"]
    assert response.context["raw_permissions"] == [("flows: Can view flow", [""])]


def test_a_superuser_and_an_inactive_user_are_shown_as_such(client, superuser, clerk, world):
    clerk.groups.add(world.role)
    clerk.is_active = False
    clerk.save()

    mine = client.get(reverse("admin:flows_rolemapping_mine"))
    inactive = client.get(reverse("admin:flows_rolemapping_of_user", args=[clerk.pk]))

    (every,) = mine.context["rights_rows"]
    assert all(origins[0].text == "superuser" for _, origins in every.cells())
    assert not any(origins for row in inactive.context["rights_rows"] for _, origins in row.cells())


def test_the_own_rights_are_shown_to_each_member_of_staff(staff_client, give_right, world):
    client = staff_client()
    give_right("watch", world.flow)

    page = client.get(reverse("admin:flows_rolemapping_mine"))

    assert page.status_code == 200
    assert "order-processing" in page.text
    assert "My rights" in client.get(reverse("admin:index")).text


def test_the_rights_of_a_user_are_for_who_sees_the_user(staff_client, give_right, world, clerk):
    hidden = Flow.objects.create(name="hushhush")
    RoleMapping.objects.create(role=world.role, right="watch", flow=hidden)
    clerk.groups.add(world.role)
    client = staff_client()
    give_right("watch", world.flow)
    page = reverse("admin:flows_rolemapping_of_user", args=[clerk.pk])
    closed = client.get(page).status_code
    User.objects.get(username="staff").user_permissions.add(
        Permission.objects.get(codename="view_user")
    )

    shown = client.get(page)
    on_user_page = client.get(reverse("admin:auth_user_change", args=[clerk.pk]))

    assert (closed, shown.status_code, on_user_page.status_code) == (403, 200, 200)
    assert "order-processing" in shown.text
    assert "order-processing" in on_user_page.text
    assert "hushhush" not in shown.text + on_user_page.text


def test_the_switch_into_the_configuration_manager_is_explained(client, clerk):
    page = client.get(reverse("admin:auth_user_change", args=[clerk.pk])).text

    assert "May log in to the Configuration Manager" in page
    assert "Advanced: Django" in page

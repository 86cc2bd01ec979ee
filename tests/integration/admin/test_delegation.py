"""Only a superuser edits a superuser, and others give no more than they have."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse

from flows.models import RoleMapping
from tests.integration.admin.pages import add_row, form_data

MANAGES_USERS = ("auth.view_user", "auth.add_user", "auth.change_user", "auth.delete_user")
MANAGES_ROLES = ("auth.view_group", "auth.add_group", "auth.change_group", "auth.delete_group")
MAPS = tuple(f"flows.{verb}_rolemapping" for verb in ("view", "add", "change", "delete"))
NEW_PASSWORD = {"password1": "long-enough-7", "password2": "long-enough-7"}


def permission(codename):
    return Permission.objects.get(codename=codename)


def page_of(obj, page="change"):
    meta = obj._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=[obj.pk])


def password_page(user):
    return reverse("admin:auth_user_password_change", args=[user.pk])


def save(client, obj, **changes):
    page = page_of(obj)
    response = client.post(page, form_data(client.get(page)) | changes)
    obj.refresh_from_db()
    return response


@pytest.fixture
def manager(staff_client):
    return staff_client(*MANAGES_USERS, *MANAGES_ROLES, *MAPS)


@pytest.fixture
def me(manager):
    return User.objects.get(username="staff")


@pytest.fixture
def powerless(db):
    return User.objects.create_user("powerless", password="secret")


@pytest.fixture(params=["superuser", "permission", "role", "mapping", "inactive"])
def powerful(request, db):
    """Return a user who has something that the manager lacks."""
    user = User.objects.create_user("powerful", password="secret", is_staff=True)
    role = Group.objects.create(name="powerful")
    if request.param == "superuser":
        user.is_superuser = True
    elif request.param in {"permission", "inactive"}:
        user.user_permissions.add(permission("change_script"))
        user.is_active = request.param != "inactive"
    elif request.param == "role":
        role.permissions.add(permission("change_script"))
        user.groups.add(role)
    else:
        RoleMapping.objects.create(role=role, right="operate", flow=None)
        user.groups.add(role)
    user.save()
    return user


def test_the_own_page_makes_no_superuser(manager, me):
    save(manager, me, is_superuser="on")

    assert me.is_superuser is False


@pytest.mark.long
def test_a_permission_that_one_lacks_is_not_offered_and_not_taken(manager, me, powerless):
    script = permission("change_script")
    for user in (me, powerless):
        offered = manager.get(page_of(user)).context["adminform"].form.fields["user_permissions"]

        response = save(manager, user, user_permissions=[script.pk])

        assert script not in offered.queryset
        assert "user_permissions" in response.context["adminform"].form.errors
        assert not user.has_perm("scripts.change_script")


def test_a_permission_that_one_has_is_given(manager, powerless):
    save(manager, powerless, user_permissions=[permission("view_user").pk])

    assert User.objects.get(pk=powerless.pk).has_perm("auth.view_user")


@pytest.mark.long
def test_a_role_with_more_in_it_is_neither_given_nor_changed(manager, powerless, me):
    by_permission = Group.objects.create(name="scripts")
    by_permission.permissions.add(permission("change_script"))
    by_right = Group.objects.create(name="operators")
    RoleMapping.objects.create(role=by_right, right="operate", flow=None)

    for role in (by_permission, by_right):
        for user in (powerless, me):
            response = save(manager, user, groups=[role.pk])
            assert "groups" in response.context["adminform"].form.errors
            assert not user.groups.exists()
        assert manager.post(page_of(role), {"name": "mine"}).status_code == 403
        assert manager.post(page_of(role, "delete"), {"post": "yes"}).status_code == 403
        role.refresh_from_db()
        assert role.name != "mine"


@pytest.mark.sampled(3)
def test_a_user_who_has_more_cannot_be_edited(manager, powerful):
    before = User.objects.filter(pk=powerful.pk).values().get()

    pages = [
        manager.post(page_of(powerful), {"username": "mine"}),
        manager.get(password_page(powerful)),
        manager.post(password_page(powerful), NEW_PASSWORD),
        manager.post(page_of(powerful, "delete"), {"post": "yes"}),
    ]

    assert [page.status_code for page in pages] == [403] * 4
    assert User.objects.filter(pk=powerful.pk).values().get() == before


@pytest.mark.sampled(3)
def test_a_user_who_has_more_is_shown_without_buttons(manager, powerful):
    content = manager.get(page_of(powerful)).content.decode()

    assert 'name="_save"' not in content
    assert "/password/" not in content


def test_a_user_who_has_more_is_not_deleted_from_the_list(manager, powerful):
    data = {"action": "delete_selected", "_selected_action": [powerful.pk], "post": "yes"}

    manager.post(reverse("admin:auth_user_changelist"), data)

    assert User.objects.filter(pk=powerful.pk).exists()


def test_the_password_of_a_user_who_has_no_more_is_set(manager, powerless):
    assert manager.post(password_page(powerless), NEW_PASSWORD).status_code == 302

    powerless.refresh_from_db()
    assert powerless.check_password("long-enough-7")


def test_a_role_gets_no_permission_that_one_lacks(manager):
    role = Group.objects.create(name="empty")

    response = save(manager, role, permissions=[permission("change_script").pk])

    assert "permissions" in response.context["adminform"].form.errors
    assert not role.permissions.exists()


def test_a_new_role_gets_no_permission_that_one_lacks(manager):
    add = reverse("admin:auth_group_add")
    data = form_data(manager.get(add)) | {
        "name": "new",
        "permissions": [permission("change_script").pk],
    }

    assert manager.post(add, data).status_code == 200
    assert not Group.objects.filter(name="new").exists()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("right", ["start", "watch", "operate"])
def test_a_right_that_one_lacks_is_not_given_on_any_page(manager, me, world, right):
    role = Group.objects.create(name="mine")
    me.user_permissions.add(permission("view_flow"), permission("change_flow"))
    if right != "start":
        me.groups.add(world.role)
    data = form_data(manager.get(page_of(role)))
    add = reverse("admin:flows_rolemapping_add")

    manager.post(page_of(role), add_row(data, "role_mappings", right=right, flow=""))
    manager.post(add, {"role": role.pk, "right": right, "flow": world.flow.pk})
    seen = manager.get(page_of(world.flow))
    flow = form_data(seen) if seen.status_code == 200 else {}
    if flow and "role_mappings-TOTAL_FORMS" in flow:
        manager.post(page_of(world.flow), add_row(flow, "role_mappings", right=right, role=role.pk))

    assert not role.role_mappings.exists()


def test_a_right_that_one_has_is_given_for_that_flow_alone(manager, me, world):
    me.groups.add(world.role)
    role = Group.objects.create(name="mine")
    add = reverse("admin:flows_rolemapping_add")

    manager.post(add, {"role": role.pk, "right": "start", "flow": world.flow.pk})
    manager.post(add, {"role": role.pk, "right": "start", "flow": ""})

    assert list(role.role_mappings.values_list("right", "flow")) == [("start", world.flow.pk)]


def test_a_mapping_of_another_right_is_neither_changed_nor_deleted(manager, me, world):
    me.groups.add(world.role)
    role = Group.objects.create(name="operators")
    mapping = RoleMapping.objects.create(role=role, right="operate", flow=world.flow)

    changed = manager.post(page_of(mapping), {"role": role.pk, "right": "start", "flow": ""})
    deleted = manager.post(page_of(mapping, "delete"), {"post": "yes"})

    assert (changed.status_code, deleted.status_code) == (403, 403)
    mapping.refresh_from_db()
    assert mapping.right == "operate"


def test_a_flow_page_takes_no_right_away_that_one_lacks(manager, me, world):
    me.user_permissions.add(permission("view_flow"), permission("change_flow"))
    me.groups.add(world.role)
    operators = Group.objects.create(name="operators")
    mapping = RoleMapping.objects.create(role=operators, right="operate", flow=world.flow)
    data = form_data(manager.get(page_of(world.flow)))
    rows = int(data.get("role_mappings-TOTAL_FORMS", 0))

    for row in range(rows):
        if data[f"role_mappings-{row}-id"] == mapping.pk:
            data[f"role_mappings-{row}-DELETE"] = "on"
    manager.post(page_of(world.flow), data)

    assert RoleMapping.objects.filter(pk=mapping.pk).exists()


def test_an_old_state_of_a_mapping_gives_no_right_that_one_lacks(manager, me, world):
    me.groups.add(world.role)
    role = Group.objects.create(name="mine")
    mapping = RoleMapping.objects.create(role=role, right="operate", flow=None)
    old = mapping.history.first()
    mapping.right, mapping.flow = "start", world.flow
    mapping.save()
    url = reverse("admin:flows_rolemapping_simple_history", args=[mapping.pk, old.history_id])

    manager.post(url, {"role": role.pk, "right": "operate", "flow": ""})

    mapping.refresh_from_db()
    assert (mapping.right, mapping.flow) == ("start", world.flow)


def test_a_superuser_gives_everything(client, superuser, powerless):
    other = Group.objects.create(name="scripts")
    other.permissions.add(permission("change_script"))

    save(client, powerless, is_superuser="on", groups=[other.pk])

    assert powerless.is_superuser
    assert list(powerless.groups.all()) == [other]

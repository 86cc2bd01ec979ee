from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse
from django.utils.html import escape
from knox.auth import TokenAuthentication
from knox.models import AuthToken

from flows.access.tokens import call_token
from flows.models import AuditEntry, TokenName
from tests.integration.admin.pages import act_on, add_row, form_data


def test_a_role_is_set_up_on_one_page(client, world):
    add = reverse("admin:auth_group_add")
    data = form_data(client.get(add)) | {"name": "operators"}
    data = add_row(data, "role_mappings", right="operate", flow="")
    data = add_row(data, "role_mappings", right="start", flow=world.flow.pk)

    response = client.post(add, data)

    assert response.status_code == 302
    mappings = Group.objects.get(name="operators").role_mappings
    assert set(mappings.values_list("right", "flow")) == {
        ("operate", None),
        ("start", world.flow.pk),
    }


@pytest.mark.parametrize("flow", ["every", "one"])
def test_a_mapping_that_the_role_has_already_is_refused(client, world, flow):
    page = reverse("admin:auth_group_change", args=[world.role.pk])
    data = form_data(client.get(page))
    for _ in range(2):
        data = add_row(
            data, "role_mappings", right="start", flow="" if flow == "every" else world.flow.pk
        )

    response = client.post(page, data)

    assert response.status_code == 200
    assert "has this right already" in response.content.decode()
    assert world.role.role_mappings.count() == 1


def test_a_single_mapping_that_exists_is_refused(client, world):
    data = {"role": world.role.pk, "right": "start", "flow": world.flow.pk}

    response = client.post(reverse("admin:flows_rolemapping_add"), data)

    assert response.status_code == 200
    assert "has this right already" in response.content.decode()


def test_a_user_is_made_and_given_a_password(client, world):
    add = reverse("admin:auth_user_add")
    data = {
        "username": "shop",
        "usable_password": "true",
        "password1": "long-enough-7",
        "password2": "long-enough-7",
    }
    assert client.post(add, data).status_code == 302
    user = User.objects.get(username="shop")
    page = reverse("admin:auth_user_password_change", args=[user.pk])
    assert client.get(page).status_code == 200

    response = client.post(page, {"password1": "longer-still-8", "password2": "longer-still-8"})

    assert response.status_code == 302
    user.refresh_from_db()
    assert user.check_password("longer-still-8")


def test_a_user_is_put_into_a_role(client, world, superuser):
    page = reverse("admin:auth_user_change", args=[superuser.pk])

    client.post(page, form_data(client.get(page)) | {"groups": [world.role.pk]})

    assert list(superuser.groups.all()) == [world.role]


def test_a_new_token_is_shown_once_and_works(client, superuser):
    add = reverse("admin:knox_authtoken_add")

    response = client.post(add, form_data(client.get(add)), follow=True)

    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    token = response.context["made_token"]
    html = response.content.decode()
    assert html.count('data-copies="made-token"') == 1
    assert f"Authorization: Bearer {token}" in response.context["call"]
    assert escape(response.context["call"]) in html
    assert TokenAuthentication().authenticate_credentials(token.encode())[0] == superuser
    for page in ("changelist", "change"):
        args = [AuthToken.objects.get().pk] if page == "change" else []
        content = client.get(reverse(f"admin:knox_authtoken_{page}", args=args)).content.decode()
        assert token not in content


def test_a_token_is_called_by_its_name_wherever_it_is_shown(client, superuser):
    add = reverse("admin:knox_authtoken_add")

    made = client.post(add, form_data(client.get(add)) | {"name": " billing <1> "}, follow=True)

    token = AuthToken.objects.get()
    assert str(token) == f"billing <1> ({token.token_key}… of {superuser})"
    pages = [
        made,
        client.get(reverse("admin:knox_authtoken_changelist"), {"q": "illing"}),
        client.get(reverse("admin:knox_authtoken_change", args=[token.pk])),
        client.get(reverse("admin:flows_auditentry_changelist")),
    ]
    assert ["billing &lt;1&gt;" in page.content.decode() for page in pages] == [True] * 4
    assert AuditEntry.objects.filter(kind="token", after__name="billing <1>").exists()


def test_a_revoked_token_leaves_no_name(client, superuser):
    token, _ = AuthToken.objects.create(superuser)
    call_token(token, "billing")

    act_on(client, reverse("admin:knox_authtoken_changelist"), "revoke", token)

    assert not TokenName.objects.exists()
    assert "billing" in AuditEntry.objects.get(kind="token", verb="delete").name


def test_tokens_are_revoked_from_the_list(client, superuser):
    token, _ = AuthToken.objects.create(superuser)

    act_on(client, reverse("admin:knox_authtoken_changelist"), "revoke", token)

    assert AuthToken.objects.count() == 0


def test_user_with_as_many_tokens_as_one_may_have_gets_no_more(client, superuser, settings):
    settings.REST_KNOX = settings.REST_KNOX | {"TOKEN_LIMIT_PER_USER": 1}
    AuthToken.objects.create(superuser)

    response = client.post(reverse("admin:knox_authtoken_add"), {"user": superuser.pk})

    assert response.context["adminform"].form.errors["user"]
    assert AuthToken.objects.count() == 1


def test_password_changed_on_its_page_revokes_the_tokens(client, superuser):
    user = User.objects.create_user("caller")
    AuthToken.objects.create(user)

    response = client.post(
        reverse("admin:auth_user_password_change", args=[user.pk]),
        {"password1": "battery staple", "password2": "battery staple"},
    )

    assert response.status_code == 302
    assert not AuthToken.objects.exists()


def test_only_a_superuser_makes_a_token_for_another_user(staff_client, superuser):
    client = staff_client("knox.add_authtoken")

    response = client.post(reverse("admin:knox_authtoken_add"), {"user": superuser.pk})

    assert response.status_code == 200
    assert response.context["adminform"].form.errors["user"]
    assert AuthToken.objects.count() == 0

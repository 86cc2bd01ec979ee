"""The Configuration Manager with the project's users and apps in it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from flows import public
from flows.models import Flow, Run
from orders.models import Invoice, Order
from suite.conftest import PASSWORD

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
BY_LABEL = pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)


def url(model: type, page: str, *args: Any) -> str:
    meta = model._meta
    keys = [quote(key) for key in args]
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=keys)


def sidebar(client: Client) -> dict[str, list[str]]:
    groups = client.get(reverse("admin:index")).context["sidebar_navigation"]
    return {
        str(group.get("title", "")): [
            str(item["title"]) for item in group["items"] if item["has_permission"]
        ]
        for group in groups
    }


@pytest.fixture
def rows(boss: User, clerk: User) -> None:
    order = Order.objects.create(customer=clerk, amount=10)
    Invoice.objects.create(order=order, number="R1", total=12)
    order.run = public.start("order", {"order": order.pk, "amount": 10}, user=clerk)
    order.save()
    flow = Flow.objects.get()
    flow._history_user = boss
    flow.description = "changed"
    flow.save()


@BY_LABEL
def test_every_page_of_every_model_shows(
    boss: User, rows: None, client_of: Any, rf: Any, model: Any
) -> None:
    client, request = client_of(boss), rf.get("/")
    request.user = boss
    may_add = admin.site.get_model_admin(model).has_add_permission(request)

    assert client.get(url(model, "changelist")).status_code == 200
    assert client.get(url(model, "changelist"), {"q": "a"}).status_code == 200
    assert client.get(url(model, "add")).status_code == (200 if may_add else 403)
    for row in model._base_manager.all()[:20]:
        assert client.get(url(model, "change", row.pk)).status_code == 200
        assert client.get(url(model, "history", row.pk)).status_code == 200


def test_the_pages_are_on_the_site_that_the_project_has() -> None:
    from django.conf import settings

    has_own = "shop.site.ShopAdminConfig" in settings.INSTALLED_APPS

    assert (admin.site.__class__.__module__ == "shop.site") == has_own


def test_a_second_site_of_the_project_has_the_pages_that_it_registers(
    boss: User, client_of: Any
) -> None:
    order = Order.objects.create(customer=boss, amount=10)
    pages = ["", "orders/order/", "orders/order/add/", f"orders/order/{order.pk}/change/"]

    answers = [client_of(boss).get(f"/office/{page}") for page in pages]

    assert [answer.status_code for answer in answers] == [200] * 4
    assert Client().get("/office/")["Location"] == "/office/login/?next=/office/"


def test_the_login_page_takes_the_email(boss: User) -> None:
    client = Client()

    answer = client.post(
        reverse("admin:login"),
        {"username": "BOSS@example.org", "password": PASSWORD, "next": "/admin/"},
        follow=True,
    )

    assert answer.redirect_chain == [("/admin/", 302)]
    assert "The Boss" in answer.content.decode()


def test_a_run_is_started_on_the_page_of_its_flow(boss: User, client_of: Any) -> None:
    flow = Flow.objects.get(name="order")
    page = reverse("admin:flows_flow_start", args=[flow.pk])

    answer = client_of(boss).post(page, {"payload": '{"order": 1, "amount": 5}'})

    run = Run.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == url(Run, "change", run.pk)
    assert run.started_by == boss


def test_the_apps_of_the_project_have_groups_in_the_sidebar(boss: User, client_of: Any) -> None:
    groups = sidebar(client_of(boss))

    assert groups["Orders"] == ["Invoices", "Orders"]
    assert "Users" in groups["Roles and users"]
    assert groups["Configuration"][0] == "Flows"
    # What the engine shows is not shown twice.
    assert not {"Flows", "Scripts", "Django Q", "Accounts"} & set(groups)


def test_the_sidebar_shows_what_the_user_may_see(clerk: User, client_of: Any) -> None:
    before = sidebar(client_of(clerk))
    clerk.user_permissions.add(Permission.objects.get(codename="view_invoice"))

    after = sidebar(client_of(clerk))

    assert "Orders" not in before
    assert after["Orders"] == ["Invoices"]
    assert "Users" not in after["Roles and users"]


def test_a_model_that_may_only_be_added_leads_to_the_page_that_adds(
    clerk: User, client_of: Any
) -> None:
    clerk.user_permissions.add(Permission.objects.get(codename="add_order"))
    page = client_of(clerk).get(reverse("admin:index"))

    assert re.search(rf'href="{url(Order, "add")}"', page.content.decode())


def test_the_link_of_the_page_that_is_open_is_marked(boss: User, client_of: Any) -> None:
    page = client_of(boss).get(url(Order, "changelist"))

    groups = {str(group.get("title")): group for group in page.context["sidebar_navigation"]}
    active = {str(item["title"]): item["active"] for item in groups["Orders"]["items"]}
    assert active == {"Orders": True, "Invoices": False}


def test_users_are_found_in_the_lists_of_others(boss: User, client_of: Any) -> None:
    found = client_of(boss).get(
        reverse("admin:autocomplete"),
        {"term": "boss@", "app_label": "orders", "model_name": "order", "field_name": "customer"},
    )

    assert [row["id"] for row in found.json()["results"]] == [str(boss.pk)]


def has_own_pages() -> bool:
    return type(admin.site.get_model_admin(User)).__module__ == "backoffice.admin"


def test_pages_of_the_projects_own_are_left_as_they_are() -> None:
    from django.conf import settings

    wanted = "backoffice" in settings.INSTALLED_APPS

    assert has_own_pages() == wanted
    assert admin.site.is_registered(Group) != wanted


@pytest.mark.skipif("has_own_pages()", reason="the project has its own pages for its users")
class TestUsers:
    def test_a_user_is_made_with_name_and_password(self, boss: User, client_of: Any) -> None:
        form = {
            "email": "New@example.org",
            "full_name": "New One",
            "usable_password": "true",
            "password1": "quite a long one",
            "password2": "quite a long one",
        }

        answer = client_of(boss).post(url(User, "add"), form)

        assert answer.status_code == 302, answer.context["errors"]
        assert User.objects.get(full_name="New One").check_password("quite a long one")

    def test_two_users_have_not_the_same_email(self, boss: User, client_of: Any) -> None:
        form = {"email": boss.email, "full_name": "B", "usable_password": "false"}

        answer = client_of(boss).post(url(User, "add"), form)

        assert "already exists" in answer.content.decode()

    def test_a_user_is_given_roles_and_deactivated(
        self, boss: User, clerk: User, client_of: Any
    ) -> None:
        client, page = client_of(boss), url(User, "change", clerk.pk)
        shown = client.get(page)
        data = {
            "email": clerk.email,
            "full_name": "Renamed",
            "is_active": "on",
            "is_staff": "on",
            "groups": [Group.objects.get().pk],
            "_seen": shown.context["seen_state"],
        }

        answer = client.post(page, data)
        clerk.refresh_from_db()
        client.post(
            url(User, "changelist"),
            {
                "action": "deactivate",
                "_selected_action": [str(clerk.pk)],
                "_confirmed": "yes",
            },
        )

        assert answer.status_code == 302, answer.context["errors"]
        assert clerk.full_name == "Renamed"
        clerk.refresh_from_db()
        assert not clerk.is_active

    def test_a_password_is_set_on_its_page(self, boss: User, clerk: User, client_of: Any) -> None:
        page = reverse("admin:auth_user_password_change", args=[quote(clerk.pk)])
        new = {"password1": "quite a long one", "password2": "quite a long one"}

        shown = client_of(boss).get(page)
        answer = client_of(boss).post(page, new | {"usable_password": "true"})

        clerk.refresh_from_db()
        assert (shown.status_code, answer.status_code) == (200, 302)
        assert answer["Location"] == url(User, "change", clerk.pk)
        assert clerk.check_password("quite a long one")

    def test_others_edit_no_user_with_more_than_they_have(
        self, boss: User, clerk: User, client_of: Any
    ) -> None:
        clerk.user_permissions.set(Permission.objects.filter(codename__endswith="_user"))
        other = User.objects.create_user("other@example.org", "Other", PASSWORD)
        client = client_of(clerk)

        of_boss = client.get(url(User, "change", boss.pk))
        of_other = client.get(url(User, "change", other.pk))

        assert "_save" not in of_boss.content.decode()
        assert 'name="_save"' in of_other.content.decode()
        assert "is_superuser" not in of_other.context["adminform"].form.fields


def test_a_token_is_made_for_oneself_alone(clerk: User, boss: User, client_of: Any) -> None:
    clerk.user_permissions.set(Permission.objects.filter(content_type__app_label="knox"))
    page = reverse("admin:knox_authtoken_add")

    shown = client_of(clerk).get(page)
    refused = client_of(clerk).post(page, {"user": str(boss.pk)})
    made = client_of(clerk).post(page, {"user": str(clerk.pk)}, follow=True)

    assert list(shown.context["adminform"].form.fields["user"].queryset) == [clerk]
    assert refused.context["errors"]
    assert "made_token" in made.context
    found = client_of(clerk).get(reverse("admin:knox_authtoken_changelist"), {"q": "clerk@"})
    assert found.context["cl"].result_count == 1

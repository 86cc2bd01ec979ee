"""Finding by Ctrl+K, pages of errors, the way to a page, and lists without rows."""

from __future__ import annotations

import html
import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import clear_script_prefix, reverse, set_script_prefix
from knox.models import AuthToken

from flows import engine
from flows.api.unavailable import server_error
from flows.models import Queue, Right, RoleMapping, Run
from scripts.models import Secret
from tests.builders import ECHO, make_flow

pytestmark = pytest.mark.django_db


@pytest.fixture
def orders():
    return make_flow("orders", [ECHO])


@pytest.fixture
def staff(client):
    """A staff user without any right, logged in."""
    user = User.objects.create_user("staff", is_staff=True)
    client.force_login(user)
    return user


def allow(user, right, flow):
    role = Group.objects.create(name=right)
    user.groups.add(role)
    RoleMapping.objects.create(role=role, right=right, flow=flow)


def found(client, text):
    response = client.get(reverse("admin:flows_find"), {"s": text})
    assert response.status_code == 200
    return {each.title: each.url for each in response.context["found"]}


def test_flows_are_found_by_a_part_of_their_name(admin_client, orders):
    assert found(admin_client, "RDER")["orders"] == reverse(
        "admin:flows_flow_change", args=[orders.pk]
    )


def test_a_flow_is_found_with_its_start_form(admin_client, orders):
    url = found(admin_client, "start ord")["Start orders"]

    assert admin_client.get(url).status_code == 200


def test_a_run_is_found_by_the_beginning_of_its_id(admin_client, orders):
    run = engine.start("orders", {}).correlation_id

    assert str(run) in found(admin_client, str(run)[:13])
    assert str(run) in found(admin_client, run.hex.upper())


@pytest.mark.parametrize("text", ["", "  ", "0000000g", "f" * 33, "%", "x" * 10_000])
def test_texts_that_mean_nothing_find_nothing(admin_client, orders, text):
    assert found(admin_client, text) == {}


@pytest.mark.long
def test_every_page_that_is_found_opens(admin_client, orders):
    for url in found(admin_client, "e").values():
        assert admin_client.get(url).status_code == 200, url


def test_a_user_without_rights_finds_nothing_of_flows(client, staff, orders):
    run = engine.start("orders", {}).correlation_id

    assert found(client, "orders") == {}
    assert found(client, run.hex) == {}


def test_a_user_finds_what_the_role_shows(client, staff, orders):
    make_flow("orders-of-others", [ECHO])
    run = engine.start("orders", {}).correlation_id
    other = engine.start("orders-of-others", {}).correlation_id
    allow(staff, Right.WATCH, orders)

    names = found(client, "orders")

    assert "orders" in names
    assert not [name for name in names if "others" in name or name.startswith("Start")]
    assert str(run) in found(client, run.hex)
    assert found(client, other.hex) == {}


def test_anonymous_users_are_asked_to_log_in():
    assert Client().get(reverse("admin:flows_find"), {"s": "a"}).status_code == 302


@pytest.mark.parametrize("name", ["index", "flows_run_changelist", "flows_flow_add"])
def test_the_header_shows_that_there_is_a_search(admin_client, name):
    content = admin_client.get(reverse(f"admin:{name}")).content.decode()

    assert "Ctrl K" in content
    assert reverse("admin:flows_find") in content


def test_a_page_that_is_not_there_is_answered_in_the_look_of_the_admin(admin_client):
    response = admin_client.get("/nowhere/")

    assert response.status_code == 404
    assert "Page not found" in response.content.decode()
    assert reverse("admin:flows_run_changelist") in response.content.decode()


def test_a_page_that_is_not_there_shows_no_menu_without_a_login():
    response = Client().get("/nowhere/")

    content = response.content.decode()
    assert response.status_code == 404
    assert reverse("admin:index") in content
    assert reverse("admin:flows_run_changelist") not in content


def test_a_page_that_is_not_allowed_leads_back(client, staff):
    response = client.get(reverse("admin:flows_run_changelist"))

    assert response.status_code == 403
    assert "Not allowed" in response.content.decode()
    assert reverse("admin:index") in response.content.decode()


def test_the_way_in_the_header_of_a_refused_page_is_its_title(client, staff):
    client.force_login(staff)

    response = client.get(reverse("admin:flows_flow_add"))

    assert response.status_code == 403
    crumbs = re.findall(r'class="crumb[^>]*>\s*([^<]+?)\s*<', response.content.decode())
    assert crumbs == ["Not allowed"]


def test_what_a_button_does_is_no_page_and_its_address_says_so(admin_client, orders):
    """As after a login, which leads to the address that the button had sent to."""
    step = orders.steps.get()
    for url in (
        reverse("admin:flows_deadletter_requeue", args=[1]),
        reverse("admin:flows_flow_move_step", args=[orders.pk]),
        reverse("admin:flows_flow_save_step", args=[orders.pk, step.pk, "queue"]),
    ):
        response = admin_client.get(url)

        assert (response.status_code, response["Allow"]) == (405, "POST"), url
        assert "Nothing was done" in response.content.decode()
        assert reverse("admin:flows_flow_changelist") in response.content.decode()


def test_a_form_without_its_token_is_answered_in_the_look_of_the_admin():
    client = Client(enforce_csrf_checks=True)

    response = client.post(reverse("admin:login"), {"username": "a", "password": "b"})

    assert response.status_code == 403
    assert "was not accepted" in response.content.decode()


def test_the_api_answers_errors_as_problems(client):
    response = client.get("/async/api/nowhere")

    assert response.status_code == 404
    assert response["Content-Type"] == "application/problem+json"


def way(client, url):
    content = client.get(url).content.decode()
    heading = re.search(r"<h1.*?</h1>", content, re.DOTALL).group()
    text = re.sub(r"<[^>]+>|chevron_right", "\n", heading)
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_the_way_to_a_page_is_in_the_words_of_the_menu(admin_client, orders):
    page = reverse("admin:flows_flow_change", args=[orders.pk])

    assert way(admin_client, reverse("admin:index")) == ["Home"]
    assert way(admin_client, reverse("admin:flows_flow_changelist")) == ["Configuration", "Flows"]
    assert way(admin_client, page) == ["Configuration", "Flows", "orders"]
    assert way(admin_client, reverse("admin:flows_queue_add")) == [
        "Configuration",
        "Queues",
        "New",
    ]
    assert way(admin_client, reverse("admin:auth_group_changelist")) == ["Roles and users", "Roles"]
    # Its model calls itself otherwise.
    assert way(admin_client, reverse("admin:django_q_schedule_changelist")) == [
        "Engine",
        "Scheduled tasks",
    ]


@pytest.mark.parametrize(
    ("name", "title"),
    [("index", "Home"), ("flows_run_changelist", "Runs"), ("flows_flow_start", "orders | Start")],
)
def test_the_tab_of_the_browser_is_called_as_the_page(admin_client, orders, name, title):
    args = [orders.pk] if name == "flows_flow_start" else []

    content = admin_client.get(reverse(f"admin:{name}", args=args)).content.decode()

    assert re.search(rf"<title>\s*{re.escape(title)} \| Async Engine\s*</title>", content)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("flows_rolemapping_matrix", ["Roles and users", "Matrix of rights"]),
        ("flows_configuration_export", ["Configuration", "Export"]),
        ("flows_flow_add_step", ["Configuration", "Flows", "orders", "New step"]),
        ("flows_flow_webhooks", ["Configuration", "Flows", "orders", "Webhooks"]),
    ],
)
def test_the_way_to_a_page_of_no_model_begins_with_its_group(admin_client, orders, name, words):
    arguments = [orders.pk] if "flows_flow_" in name else []

    assert way(admin_client, reverse(f"admin:{name}", args=arguments)) == words


def test_times_of_secrets_and_tokens_are_in_the_zone_of_the_viewer(admin_client, admin_user):
    secret = Secret(name="key")
    secret.set_value("swordfish")
    secret.save()
    AuthToken.objects.create(admin_user)

    for name in ("scripts_secret_changelist", "knox_authtoken_changelist"):
        page = admin_client.get(reverse(f"admin:{name}")).content.decode()

        assert '<time datetime="' in page
        assert " UTC</td>" not in page


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("run", "one execution of a flow"),
        ("deadletter", "failed for good"),
        ("reprocessing", "Reprocess many"),
        ("consumer", "while it works"),
    ],
)
def test_a_list_without_rows_says_what_it_is_for(admin_client, name, words):
    content = admin_client.get(reverse(f"admin:flows_{name}_changelist")).content.decode()

    assert words in content


@pytest.mark.long
def test_every_list_of_the_engine_says_what_it_is_for_where_it_is_empty(admin_client):
    lists = [
        reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
        for meta in (model._meta for model in admin.site._registry)
        if meta.app_label in {"flows", "scripts", "django_q", "knox"} or meta.model_name == "group"
    ]
    advice = re.compile(r"<p [^>]*data-advice>\s*([^<\s]?)")

    found = {url: advice.search(admin_client.get(url).content.decode()) for url in lists}

    # A list that has rows on an empty database has no advice.
    assert [url for url, match in found.items() if match and not match[1]] == []
    assert sum(match is not None for match in found.values()) > 15


def test_the_button_beside_an_action_applies_it(admin_client, orders):
    content = admin_client.get(reverse("admin:flows_flow_changelist")).content.decode()

    assert re.search(r'title="Apply the selected action".*?>\s*Apply\s*<', content, re.DOTALL)


def test_dialogs_have_no_cancel_beside_cancel_the_run(admin_client, orders):
    run = engine.start("orders", {}).correlation_id
    url = reverse("admin:flows_run_cancel", args=[run])

    content = admin_client.get(url).content.decode()

    assert "Keep it running" in content
    assert not re.search(r">\s*Cancel\s*<", content)


def test_runs_are_not_offered_by_a_number_that_is_not_known(admin_client, orders):
    engine.start("orders", {})

    content = admin_client.get(reverse("admin:flows_run_changelist")).content.decode()

    assert "Apply" in content
    assert "Select all 9" not in content


@pytest.fixture
def sub_path():
    """Stand below a path of the proxy, as a server's worker does."""
    set_script_prefix("/tools/")
    yield "/tools"
    clear_script_prefix()


def test_the_way_to_a_page_is_found_on_a_sub_path(admin_client, sub_path):
    page = admin_client.get("/admin/flows/flow/")

    assert page.status_code == 200
    assert f"{sub_path}/admin/flows/flow/" in page.content.decode()


def test_page_without_anything_to_save_has_no_bar_of_buttons(client, world):
    run = Run.objects.earliest("created_at")

    read_only = client.get(f"/admin/flows/run/{run.pk}/change/").content.decode()
    editable = client.get(
        f"/admin/flows/queue/{Queue.objects.earliest('pk').pk}/change/"
    ).content.decode()

    assert 'id="submit-row"' not in read_only
    assert 'id="submit-row"' in editable


def test_an_error_of_the_server_has_a_page_that_needs_no_database_and_says_when():
    request = RequestFactory().get("/admin/")

    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        with CaptureQueriesContext(connection) as asked:
            response = server_error(request)

    assert response.status_code == 500
    assert "Something went wrong" in response.content.decode()
    assert re.search(r"at \d\d:\d\d:\d\d UTC", response.content.decode())
    assert len(asked) == 0


def test_what_no_way_leads_back_from_has_a_red_button(admin_client, orders):
    run = Run.objects.get(pk=engine.start("orders", {}).correlation_id)

    cancel, again = (
        admin_client.get(reverse(f"admin:flows_run_{name}", args=[run.pk])).content.decode()
        for name in ("cancel", "start_again")
    )

    assert "bg-red-600" in cancel
    assert "bg-red-600" not in again


def test_the_history_of_a_user_leads_to_its_entries_in_the_audit_log(admin_client, admin_user):
    page = reverse("admin:auth_user_history", args=[admin_user.pk])
    admin_user.first_name = "Ada"
    admin_user.save()

    content = admin_client.get(page).content.decode()

    link = re.search(r'href="([^"]+)">Its entries in the audit log', content)
    assert link
    entries = admin_client.get(html.unescape(link[1])).context["cl"].result_list
    assert {(entry.kind, entry.name) for entry in entries} == {("user", admin_user.username)}


def test_the_number_of_results_stands_beside_the_title_where_some_are_left_out(admin_client):
    letters = reverse("admin:flows_deadletter_changelist")

    pages = [admin_client.get(letters + query).content.decode() for query in ("", "?q=orders")]

    assert ["0 results (" in page for page in pages] == [False, True]

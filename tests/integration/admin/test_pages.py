"""Every page of the Configuration Manager shows, with data and without."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from django.contrib import admin
from django.contrib.staticfiles import finders
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django_q.models import Failure, Schedule, Success
from knox.models import AuthToken

from flows.models import DeadLetter, Queue
from scripts.models import Library, Secret

EMPTY = "empty"
FULL = "full"


def url(model, page, *args):
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=args)


MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)


@pytest.fixture
def tasks(db):
    now = timezone.now()
    Schedule.objects.create(name="sweep", func="flows.tasks.retention.purge", next_run=now)
    for model, key, success in ((Success, "a", True), (Failure, "b", False)):
        model.objects.create(
            id=key * 32,
            name=f"sweep-{key}",
            func="flows.tasks.retention.purge",
            started=now,
            stopped=now,
            success=success,
            args=(),
            kwargs={},
            result="nothing to do",
        )


@pytest.fixture
def everything(world, tasks, superuser):
    AuthToken.objects.create(superuser)
    Library.objects.create(name="prices", code="VAT = 19")
    secret = Secret(name="shop.key")
    secret.set_value("swordfish")
    secret.save()
    return world


class Outside(HTMLParser):
    """Collects what a page would load or link to on other hosts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in {"src", "href", "action", "srcset"} and re.match(
                "(https?:)?//", value or ""
            ):
                self.found.append(f"{tag} {name}={value}")


def outside_references(response):
    return Outside(response.content.decode()).found


def assert_shows(client, page):
    """The page shows, also without JavaScript, refers to nothing outside, and writes moments as all
    pages do.
    """
    response = client.get(page)
    assert "html[x-cloak] { display: block !important; }" in response.content.decode(), page
    assert response.status_code == 200, page
    assert outside_references(response) == [], page
    assert not re.search(r"\d [ap]\.m\.", response.content.decode()), page


@pytest.mark.long
def test_lists_show_when_empty(client):
    for model in MODELS:
        response = client.get(url(model, "changelist"))

        assert response.status_code == 200, model
        assert outside_references(response) == [], model


@pytest.mark.long
def test_lists_show_with_data(client, everything):
    for model in MODELS:
        assert_shows(client, url(model, "changelist"))


def test_change_pages_show_every_object(client, everything):
    for model in MODELS:
        for obj in model._default_manager.all():
            assert_shows(client, url(model, "change", obj.pk))


@pytest.mark.long
def test_add_pages_show_where_adding_is_allowed(client, everything, rf, superuser):
    request = rf.get("/")
    request.user = superuser
    for model in MODELS:
        allowed = admin.site.get_model_admin(model).has_add_permission(request)

        response = client.get(url(model, "add"))

        assert response.status_code == (200 if allowed else 403), model
        assert not allowed or outside_references(response) == [], model


@pytest.mark.long
def test_history_shows_of_every_object(client, everything):
    for model in MODELS:
        for obj in model._default_manager.all():
            page = url(model, "history", obj.pk)
            assert client.get(page).status_code == 200, page


def test_an_old_state_shows_in_the_history_before_any_other_page(client, world):
    for obj in (world.flow, world.script, world.orders):
        record = obj.history.first()
        try:
            page = url(type(obj), "simple_history", obj.pk, record.pk)
        except NoReverseMatch:
            pytest.fail(f"{type(obj)} has no history")

        assert client.get(page).status_code == 200


def test_every_class_is_one_of_unfold():
    from unfold.admin import ModelAdmin

    for model in MODELS:
        assert isinstance(admin.site.get_model_admin(model), ModelAdmin), model


@pytest.mark.parametrize("fullness", [EMPTY, FULL])
def test_dashboard_shows(client, request, fullness):
    if fullness == FULL:
        request.getfixturevalue("everything")

    response = client.get(reverse("admin:index"))

    assert response.status_code == 200
    assert outside_references(response) == []


def test_head_of_a_page_shows_a_name_as_it_is_written(client, world):
    content = client.get(url(type(world.flow), "change", world.flow.pk)).content.decode()

    assert re.search(r">\s*order-processing\s*</a>", content)
    assert re.search(r">\s*Flows\s*</a>", content)


@pytest.mark.parametrize(
    ("query", "said"),
    [("", "There are no dead letters"), ("?queue=billing", "No dead letters match")],
)
def test_an_empty_list_says_whether_its_filters_are_the_cause(client, db, query, said):
    Queue.objects.create(name="billing")

    content = client.get(url(DeadLetter, "changelist") + query).content.decode()

    assert said in " ".join(content.split())
    assert ("Reset filters" in content) is bool(query)


@pytest.mark.parametrize("page", ["/admin/", "/async/specifications/swagger-ui/index.html"])
def test_pages_may_call_no_other_host(client, db, page):
    response = client.get(page)

    policy = dict(each.split(" ", 1) for each in response["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert not re.search(r"https?:|\*", response["Content-Security-Policy"])


def test_every_page_names_an_icon_that_is_there(client, db):
    content = client.get(reverse("admin:index")).content.decode()

    [icon] = re.findall(r'<link rel="icon" href="/static/([^"]+)"', content)
    assert finders.find(icon)


def test_sidebar_says_how_many_dead_letters_are_open(client, world):
    response = client.get(reverse("admin:index"))

    items = [item for group in response.context["sidebar_navigation"] for item in group["items"]]
    badges = {item["title"]: item.get("badge") for item in items}
    assert badges["Dead letters"] == "1"
    assert badges["Runs"] is None


def test_sidebar_marks_the_list_of_the_present_page(client, world):
    response = client.get(url(type(world.flow.versions.get()), "changelist"))

    items = [item for group in response.context["sidebar_navigation"] for item in group["items"]]
    assert [item["title"] for item in items if item["active"]] == ["Flows"]


def test_login_leads_to_the_dashboard_or_to_where_one_was_going(client, superuser):
    client.logout()
    login, runs = reverse("admin:login"), reverse("admin:flows_run_changelist")
    for page, target in ((login, reverse("admin:index")), (f"{login}?next={runs}", runs)):
        form = {"username": "root", "password": "secret"}
        form["next"] = client.get(page).context["next"]

        assert f'name="next" value="{target}"' in client.get(page).content.decode()
        assert client.post(page, form).url == target
        client.logout()


def test_a_wrong_password_is_told_once(client, superuser):
    client.logout()

    response = client.post(reverse("admin:login"), {"username": "root", "password": "wrong"})

    content = response.content.decode()
    assert content.count("Please enter the correct username and password") == 1
    assert "Please correct the error" not in content


def test_login_page_refers_to_nothing_outside(client, db):
    client.logout()

    response = client.get(reverse("admin:login"))

    assert response.status_code == 200
    assert outside_references(response) == []


@pytest.mark.parametrize(
    ("name", "row", "title", "buttons"),
    [
        ("flows_flow_start", "flow", "Start a run of order-processing", ["Start"]),
        ("flows_deadletter_reprocess", "dead_letter", "Reprocess at the step", ["Reprocess"]),
        ("flows_reprocessing_begin", None, "Which dead letters", ["Count again"]),
    ],
)
def test_a_page_with_a_form_has_its_title_and_its_buttons(client, world, name, row, title, buttons):
    key = [getattr(world, row).pk] if row else []

    page = client.get(reverse(f"admin:{name}", args=key)).content.decode()

    form = page[re.search(r'<form method="post"[^>]* novalidate', page).start() :]
    assert title in form
    shown = re.findall(r'<button[^>]*type="submit"[^>]*>\s*(.*?)\s*</button>', form, re.DOTALL)
    assert [text for text in shown if text in ("Count again", "Start", "Reprocess")] == buttons
    assert "Back" in form

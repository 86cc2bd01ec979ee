"""Callables in the Configuration Manager."""

from __future__ import annotations

import pytest
from django.urls import reverse

from tests.integration.admin.pages import form_data

PATH = "tests.callables.record"


@pytest.fixture
def page(world):
    return reverse("admin:scripts_script_change", args=[world.script.pk])


@pytest.fixture
def allowed(settings):
    settings.ASYNCENGINE_CALLABLE_MODULES = ["tests.callables"]


def test_the_language_is_not_offered_where_no_module_is_allowed(client, world, page):
    form = client.get(page).context["adminform"].form

    assert "callable" not in dict(form.fields["language"].choices)
    assert "in_transaction" not in form.fields
    answer = client.post(page, form_data(client.get(page)) | {"language": "callable", "code": PATH})
    assert "language" in answer.context["adminform"].form.errors


def test_a_callable_is_saved_with_its_path(client, world, page, allowed):
    before = client.get(page)
    assert "dotted path" in before.content.decode()

    answer = client.post(
        page, form_data(before) | {"language": "callable", "code": PATH, "in_transaction": "on"}
    )

    assert answer.status_code == 302
    version = world.script.current_version
    assert (version.number, version.language, version.code) == (2, "callable", PATH)
    assert version.in_transaction
    shown = client.get(reverse("admin:scripts_scriptversion_change", args=[version.pk]))
    assert PATH in shown.content.decode()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("os.system", "module os is not allowed"),
        ("tests.callables.absent", "has no function 'absent'"),
        ("tests.callables.hooks", "is no function"),
    ],
)
def test_what_cannot_run_is_refused(client, world, page, allowed, path, said):
    answer = client.post(page, form_data(client.get(page)) | {"language": "callable", "code": path})

    (error,) = answer.context["adminform"].form.errors["code"]
    assert said in error
    assert world.script.versions.count() == 1


def test_only_callables_run_in_the_transaction(client, world, page, allowed):
    answer = client.post(page, form_data(client.get(page)) | {"in_transaction": "on"})

    assert "Only a callable" in str(answer.context["adminform"].form.errors)


def test_one_that_is_there_stays_visible_when_its_module_is_not_allowed_any_more(
    client, world, page
):
    world.script.language, world.script.code = "callable", PATH
    world.script.save()

    form = client.get(page).context["adminform"].form

    assert "callable" in dict(form.fields["language"].choices)
    assert "in_transaction" in form.fields


def test_the_page_of_a_callable_says_where_it_can_be_tried(client, world, page, allowed):
    data = form_data(client.get(page)) | {"language": "callable", "code": PATH, "sample": "{}"}

    answer = client.post(reverse("admin:scripts_script_trial", args=[world.script.pk]), data)

    (refusal,) = answer.json()["refusals"]
    assert "manage.py script test" in refusal["text"]

from __future__ import annotations

import html
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse

from scripts.models import Library, Script
from tests.builders import ECHO
from tests.integration.admin.pages import form_data


@pytest.fixture
def page(world):
    return reverse("admin:scripts_script_change", args=[world.script.pk])


def test_editing_the_code_makes_a_version_with_its_author(client, world, page, superuser):
    data = form_data(client.get(page)) | {"code": "def run(message, context): return {}"}

    response = client.post(page, data)

    assert response.status_code == 302
    version = world.script.current_version
    assert (version.number, version.author) == (2, superuser)


def test_a_version_that_another_user_made_keeps_its_author(client, world, page):
    client.post(page, form_data(client.get(page)) | {"description": "Reserves goods."})

    version = world.script.current_version
    assert (version.number, version.author) == (1, None)


def test_a_new_script_has_a_first_version_of_its_author(client, superuser):
    add = reverse("admin:scripts_script_add")
    data = form_data(client.get(add)) | {"name": "mail", "code": ECHO, "input_schema": ""}

    response = client.post(add, data)

    assert response.status_code == 302
    script = Script.objects.get(name="mail")
    assert script.input_schema == {}
    assert script.current_version.author == superuser


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("language", "code", "faults"),
    [
        ("python", "def run(message, context:", ["line 1: '(' was never closed"]),
        ("python", " \n", ["This field is required."]),
        ("python", "import os\ndef run(m): ...", ["line 1: module 'os'", "line 2: run must take"]),
        ("javascript", "let x = 1;", ["never calls setData(output)"]),
    ],
)
def test_code_that_cannot_run_is_refused_with_the_line(client, world, page, language, code, faults):
    response = client.post(page, form_data(client.get(page)) | {"language": language, "code": code})

    errors = response.context["adminform"].form.errors["code"]
    for error, fault in zip(errors, faults, strict=True):
        assert error.startswith(fault)
    assert world.script.versions.count() == 1


def test_code_may_import_the_libraries_of_its_script(client, world, page):
    world.script.libraries = [Library.objects.create(name="money", code="rate = 2")]
    world.script.save()
    code = "import money\ndef run(message, context):\n    return message"

    response = client.post(page, form_data(client.get(page)) | {"code": code})

    assert response.status_code == 302
    assert world.script.current_version.code == code


NO_SCHEMAS: list[Any] = [
    ("{", "This is not valid JSON."),
    ("[1]", "Must be a JSON object"),
    ('{"type": "text"}', "Not a valid JSON Schema"),
    ('{"properties": {"a": {"minimum": "one"}}}', "properties"),
    ('{"$ref": "http://example.org/schema.json"}', "Not a valid JSON Schema"),
    ('{"title": "\\u0000"}', "cannot be stored"),
    ('{"format": "emial"}', "the format 'emial' is not known; do you mean 'email'?"),
    ('{"title": "\\ud800"}', "cannot be stored"),
    ('{"minimum": NaN}', "cannot be stored"),
]


@pytest.mark.long
def test_a_schema_that_is_none_is_refused_with_the_reason(client, world, page):
    form = form_data(client.get(page))
    for schema, reason in NO_SCHEMAS:
        response = client.post(page, form | {"input_schema": schema})

        assert response.status_code == 200, schema
        assert reason in response.context["adminform"].form.errors["input_schema"][0], schema
        assert world.script.versions.count() == 1, schema


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ('{"maximum": 1234567890123456.78}', "$.maximum is a number with more digits"),
        ('{"properties": {"a": {}, "a": {"type": "string"}}}', "$.properties.a is a key"),
        ('{"maximum": 1e400}', "$.maximum is a number beyond"),
    ],
)
def test_a_schema_that_would_change_is_refused_and_shown_again(client, page, schema, place):
    form = form_data(client.get(page)) | {"input_schema": schema}

    response = client.post(page, form)

    errors = response.context["adminform"].form.errors
    assert errors["input_schema"][0].startswith(place)
    assert schema in html.unescape(response.content.decode())


def test_limits_are_entered_as_people_write_them(client, world, page):
    client.post(page, form_data(client.get(page)) | {"timeout": "1.5 s"})

    world.script.refresh_from_db()
    assert world.script.timeout == timedelta(milliseconds=1500)


def test_versions_are_listed_and_lead_to_their_code(client, world, page):
    version = world.script.current_version
    version_page = reverse("admin:scripts_scriptversion_change", args=[version.pk])

    assert version_page in client.get(page).content.decode()
    assert "def run(message, context)" in client.get(version_page).content.decode()


def test_who_may_only_look_sees_the_code_and_the_schema(staff_client, page):
    client = staff_client("scripts.view_script")

    content = client.get(page).content.decode()

    assert "def run(message, context)" in content
    assert "orderId" in content
    assert "30 s" in content

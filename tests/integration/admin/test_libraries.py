from __future__ import annotations

import pytest
from django.urls import reverse

from scripts.models import Library, Script
from tests.integration.admin.pages import form_data

ADD = reverse("admin:scripts_library_add")


@pytest.fixture
def prices(db) -> Library:
    return Library.objects.create(name="prices", code="VAT = 19")


@pytest.fixture
def rates(db) -> Library:
    return Library.objects.create(name="rates", code="RATE = 2")


def change(obj) -> str:
    return reverse(f"admin:scripts_{obj._meta.model_name}_change", args=[obj.pk])


def test_a_library_is_added_and_refused_where_it_cannot_work(client, world):
    data = {"name": "prices", "language": "python", "code": "VAT = ("}

    refused = client.post(ADD, data)
    accepted = client.post(ADD, data | {"code": "VAT = 19"})

    assert refused.context["adminform"].form.errors["code"] == ["line 1: '(' was never closed"]
    assert accepted.status_code == 302
    assert Library.objects.get().code == "VAT = 19"


def test_a_script_chooses_libraries_and_keeps_their_order(client, world, prices, rates):
    page = change(world.script)
    data = form_data(client.get(page)) | {
        "code": "import prices, rates\ndef run(message, context): return message",
        "libraries": [rates.pk, prices.pk],
    }

    response = client.post(page, data)

    assert response.status_code == 302
    version = world.script.current_version
    assert version.number == 2
    assert [library["name"] for library in version.libraries] == ["rates", "prices"]
    content = client.get(page).content.decode()
    assert content.index("rates (Python)") < content.index("prices (Python)")


def test_an_import_of_a_library_that_was_not_chosen_is_refused(client, world, prices):
    page = change(world.script)
    data = form_data(client.get(page)) | {
        "code": "import prices\ndef run(message, context): return message"
    }

    errors = client.post(page, data).context["adminform"].form.errors

    assert errors["code"][0].startswith("line 1: module 'prices' may not be imported")


def test_a_library_of_another_language_is_refused(client, world, prices):
    prices.language = "javascript"
    prices.save()
    page = change(world.script)

    response = client.post(page, form_data(client.get(page)) | {"libraries": [prices.pk]})

    errors = response.context["adminform"].form.errors
    assert errors["libraries"] == ["Of another language: prices."]
    assert world.script.versions.count() == 1


def test_saving_a_library_names_the_author_of_the_versions_it_makes(
    client, world, prices, superuser
):
    world.script.libraries = [prices]
    world.script.save()
    page = change(prices)

    client.post(page, form_data(client.get(page)) | {"code": "VAT = 20"})

    version = world.script.current_version
    assert (version.number, version.author) == (3, superuser)
    assert version.libraries[0]["code"] == "VAT = 20"


def test_a_library_shows_who_uses_it_and_is_not_deleted_then(client, world, prices):
    world.script.libraries = [prices]
    world.script.save()

    assert change(world.script) in client.get(change(prices)).content.decode()
    delete = reverse("admin:scripts_library_delete", args=[prices.pk])
    client.post(delete, {"post": "yes"})
    assert Library.objects.filter(pk=prices.pk).exists()


def test_a_version_shows_the_code_of_its_libraries(client, world, prices):
    world.script.libraries = [prices]
    world.script.save()
    prices.code = "VAT = 20"
    prices.save()

    old = world.script.versions.get(number=2)

    assert "VAT = 19" in client.get(change(old)).content.decode()


def test_what_a_script_may_reach_is_edited_on_its_page(client, world):
    page = change(world.script)
    data = form_data(client.get(page)) | {
        "network": "on",
        "allowed_hosts": "API.example.org\n*.example.net:8443\n\napi.example.org",
    }

    assert client.post(page, data).status_code == 302

    script = Script.objects.get(pk=world.script.pk)
    assert script.allowed_hosts == ["api.example.org", "*.example.net:8443"]
    refused = client.post(page, data | {"allowed_hosts": "https://example.org/path"})
    assert "is not the name of a host" in refused.context["adminform"].form.errors.as_text()


def test_the_schemas_can_be_edited_as_a_table(client, world):
    content = client.get(change(world.script)).content.decode()

    assert content.count("data-parameters") == 2
    assert "scripts/parameters.js" in content


def test_who_may_only_look_sees_the_libraries(staff_client, world, prices):
    world.script.libraries = [prices]
    world.script.save()
    client = staff_client("scripts.view_script", "scripts.view_library")

    assert "prices" in client.get(change(world.script)).content.decode()
    assert "VAT = 19" in client.get(change(prices)).content.decode()

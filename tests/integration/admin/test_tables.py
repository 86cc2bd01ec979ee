"""The pages of reference tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from flows.admin import once
from flows.models import AuditEntry
from scripts.models import ReferenceTable, Script, TableContent, TableVersion
from scripts.services.table_storing import store
from tests.integration.admin.pages import hidden_fields

pytestmark = pytest.mark.django_db
LIST = "admin:scripts_referencetable_changelist"
ADD = "admin:scripts_referencetable_add"
ZIPS = b"zip,town\n10115,Berlin\n20095,Hamburg\n"


@pytest.fixture(autouse=True)
def directory(settings: Any, tmp_path: Path) -> None:
    settings.ASYNCENGINE_TABLES_DIRECTORY = str(tmp_path / "tables")


def sent(content: bytes | None = ZIPS, name: str = "zips.csv", **others: str) -> dict[str, Any]:
    files = {} if content is None else {"file": SimpleUploadedFile(name, content)}
    versions = {
        "versions-TOTAL_FORMS": "0",
        "versions-INITIAL_FORMS": "0",
    }
    return {"name": "zip", "description": "", "key": "", **versions, **files, **others}


def stored(content: bytes = ZIPS) -> ReferenceTable:
    table = ReferenceTable.objects.filter(name="zip").first() or ReferenceTable(name="zip")
    store(table, [content], "csv")
    return table


def page_of(table: ReferenceTable) -> str:
    return reverse("admin:scripts_referencetable_change", args=[table.pk])


def test_a_file_is_stored_shown_and_recorded(admin_client: Client, admin_user: User):
    response = admin_client.post(reverse(ADD), sent())

    assert response.status_code == 302
    version = TableVersion.objects.get()
    assert (version.number, version.author) == (1, admin_user)
    page = admin_client.get(page_of(version.table)).content.decode()
    assert "zip, town" in page
    assert "10115, Berlin" in page
    assert "Version 1" in page
    assert "zip" in admin_client.get(reverse(LIST)).content.decode()
    entry = AuditEntry.objects.filter(kind="table", name="zip").latest("pk")
    assert "v1: 2 rows" in str(entry.changes if hasattr(entry, "changes") else vars(entry))


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"a,b\n1,x\n1,y\n", "zips.csv", "line 3: the key &#x27;1&#x27; stands there again"),
        (b"{", "zips.json", "entry 1"),
        (ZIPS, "zips.xlsx", "neither .csv nor .json"),
        (None, "", "This field is required"),
    ],
)
def test_a_file_that_is_no_table_is_refused_with_its_line(
    admin_client: Client, content: bytes | None, name: str, words: str
):
    response = admin_client.post(reverse(ADD), sent(content, name))

    assert words in response.content.decode()
    assert not ReferenceTable.objects.exists()
    assert not TableContent.objects.exists()


def test_the_same_form_with_another_file_is_another_form(admin_client: Client):
    token = hidden_fields(admin_client.get(reverse(ADD)))[once.FIELD]

    first, again, other = (
        admin_client.post(reverse(ADD), sent(content, **{once.FIELD: token}))
        for content in (ZIPS, ZIPS, b"zip,town\n1,Bonn\n")
    )

    assert first.status_code == again.status_code == 302
    assert first["Location"] == again["Location"]
    # It is no repetition: it is refused, as its name is taken.
    assert other.status_code == 200


def test_a_new_file_is_a_version_and_an_older_one_is_restored(admin_client: Client):
    table = stored()

    saved = admin_client.post(page_of(table), sent(b"zip,town\n1,Bonn\n"))
    page = admin_client.get(page_of(table)).content.decode()
    first = table.versions.get(number=1)
    shown = admin_client.get(reverse("admin:scripts_tableversion_change", args=[first.pk]))
    restored = admin_client.post(
        reverse("admin:scripts_tableversion_restore", args=[first.pk]),
        {"_form_submitted": "True"},
    )

    assert (saved.status_code, shown.status_code, restored.status_code) == (302, 200, 302)
    assert "1 (-1)" in page
    assert "Restore this version" in shown.content.decode()
    latest = table.latest()
    assert latest is not None
    assert (latest.number, latest.content_id) == (3, first.content_id)


def test_a_description_is_changed_without_a_file(admin_client: Client):
    table = stored()

    response = admin_client.post(page_of(table), sent(None, description="Postal codes"))

    assert response.status_code == 302
    assert ReferenceTable.objects.get().description == "Postal codes"
    assert table.versions.count() == 1


def test_another_key_needs_the_file(admin_client: Client):
    table = stored()

    refused = admin_client.post(page_of(table), sent(None, key="town"))
    saved = admin_client.post(page_of(table), sent(key="town"))

    assert "Choose the file, too" in refused.content.decode()
    assert saved.status_code == 302
    latest = table.latest()
    assert latest is not None
    assert (latest.number, latest.content.key) == (2, "town")


def test_a_file_is_downloaded_byte_for_byte(admin_client: Client):
    version = stored().versions.get()

    response: Any = admin_client.get(reverse("admin:scripts_tableversion_file", args=[version.pk]))

    assert b"".join(response.streaming_content) == ZIPS
    assert response["Content-Disposition"] == 'attachment; filename="zip-1.csv"'


def test_a_table_that_a_script_lists_is_not_deleted(admin_client: Client):
    table = stored()
    Script.objects.create(name="price", code="def run(m, c): ...", tables=["zip"])
    url = reverse("admin:scripts_referencetable_delete", args=[table.pk])

    page = admin_client.get(url).content.decode()
    admin_client.post(url, {"post": "yes"})

    assert "Script: price" in page
    assert ReferenceTable.objects.exists()


def test_a_deleted_table_leaves_no_bytes(admin_client: Client):
    table = stored()

    admin_client.post(
        reverse("admin:scripts_referencetable_delete", args=[table.pk]), {"post": "yes"}
    )

    assert not TableContent.objects.exists()


def test_the_pages_need_their_permissions(client: Client):
    table = stored()
    file = reverse("admin:scripts_tableversion_file", args=[table.versions.get().pk])
    user = User.objects.create_user("ada", password="pw", is_staff=True)
    client.force_login(user)

    refused = [client.get(url).status_code for url in (reverse(LIST), page_of(table), file)]
    user.user_permissions.add(Permission.objects.get(codename="view_referencetable"))
    seen = client.get(page_of(table))
    changed = client.post(page_of(table), sent(b"zip,town\n1,Bonn\n"))

    assert refused == [403, 403, 403]
    assert seen.status_code == 200
    assert changed.status_code == 403
    assert table.versions.count() == 1

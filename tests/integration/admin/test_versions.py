"""The history of a script: what each version changed, and the way back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from scripts.models import Library, ScriptVersion
from tests.builders import ECHO, RAISING
from tests.integration.admin.pages import answer_dialog, form_data, messages_of


@pytest.fixture
def script(world):
    """A script with three versions: its code was changed, then its time limit."""
    world.script.code = RAISING
    world.script.save()
    world.script.timeout = timedelta(seconds=7)
    world.script.save()
    return world.script


def page_of(script, number):
    version = script.versions.get(number=number)
    return reverse("admin:scripts_scriptversion_change", args=[version.pk])


def restore_page(script, number):
    version = script.versions.get(number=number)
    return reverse("admin:scripts_scriptversion_restore", args=[version.pk])


def test_the_history_tab_says_what_each_version_changed(client, script):
    content = client.get(reverse("admin:scripts_script_change", args=[script.pk])).content.decode()

    for number in (1, 2, 3):
        assert page_of(script, number) in content
    assert "+2 \N{MINUS SIGN}1" in content
    assert "timeout" in content
    assert "first version" in content
    assert reverse("admin:scripts_script_history", args=[script.pk]) in content


def test_pages_of_versions_that_are_costly_to_compare_are_shown(client, script):
    for factor in (7, 11, 13, 17):
        script.code = "\n".join(f"#{n * factor % 120}" for n in range(18_000))
        script.save()

    history = client.get(reverse("admin:scripts_script_change", args=[script.pk]))
    version = client.get(page_of(script, 6))

    assert history.status_code == 200
    assert version.context["diff"].texts[0].is_too_different
    assert "too different to be compared" in version.content.decode()


def test_a_version_shows_what_it_changed_of_the_one_before(client, script):
    response = client.get(page_of(script, 2))

    assert response.context["other"].number == 1
    [code] = response.context["diff"].texts
    assert code.added == 2
    assert 'class="diff-new"' in response.content.decode()
    assert "no luck" in response.content.decode()


@pytest.mark.parametrize(
    ("number", "against", "other"),
    [(3, "1", 1), (1, "", 3), (2, "3", 3), (2, "2", 1), (2, "99", 1), (2, "x", 1), (2, "²", 1)],
)
def test_a_version_can_be_compared_with_any_other(client, script, number, against, other):
    response = client.get(page_of(script, number), {"against": against})

    assert response.context["other"].number == other
    assert response.context["diff"]


def test_an_only_version_has_nothing_to_be_compared_with(client, world):
    response = client.get(page_of(world.script, 1))

    assert response.context["diff"] is None
    assert "There is no other version" in response.content.decode()


def test_a_version_whose_script_is_gone_still_shows(client, script):
    version = script.versions.get(number=2)
    ScriptVersion.objects.filter(script=script).update(script=None)

    response = client.get(reverse("admin:scripts_scriptversion_change", args=[version.pk]))

    assert response.status_code == 200
    assert "Restore this version" not in response.content.decode()


def test_restoring_makes_an_old_content_the_current_one_again(client, script, superuser):
    first = script.versions.get(number=1)

    page = answer_dialog(client, restore_page(script, 1))

    script.refresh_from_db()
    current = script.current_version
    assert (current.number, current.author) == (4, superuser)
    assert current.content() == first.content()
    assert (script.code, script.timeout) == (first.code, first.timeout)
    assert messages_of(page) == ["Restored: version 4 is as version 1 was."]
    assert page.request["PATH_INFO"] == reverse("admin:scripts_script_change", args=[script.pk])


def test_restoring_brings_the_libraries_back(client, script):
    library = Library.objects.create(name="money", code="rate = 1")
    script.libraries = [library]
    script.save()
    script.libraries = []
    script.save()

    answer_dialog(client, restore_page(script, 4))

    assert [each.name for each in script.libraries] == ["money"]
    assert script.current_version.number == 6


def test_a_version_whose_library_is_gone_is_not_restored(client, script):
    library = Library.objects.create(name="money", code="rate = 1")
    script.libraries = [library]
    script.save()
    script.libraries = []
    script.save()
    library.delete()

    page = answer_dialog(client, restore_page(script, 4))

    assert messages_of(page) == ["Not restored. Libraries that are gone: money."]
    assert script.current_version.number == 5


def test_a_version_that_would_be_refused_today_is_not_restored(client, script):
    script.code = "import os\n" + ECHO
    script.save()
    script.code = ECHO
    script.save()

    page = answer_dialog(client, restore_page(script, 4))

    assert "line 1: module 'os'" in messages_of(page)[0]
    assert script.current_version.number == 5


def test_the_current_version_offers_no_restoring(client, script):
    assert "Restore this version" in client.get(page_of(script, 2)).content.decode()
    assert "Restore this version" not in client.get(page_of(script, 3)).content.decode()


def test_only_those_who_may_change_scripts_may_restore(staff_client, script):
    client = staff_client("scripts.view_script", "scripts.view_scriptversion")

    assert client.get(page_of(script, 1)).status_code == 200
    assert client.post(restore_page(script, 1), {"_form_submitted": "True"}).status_code == 403
    assert script.versions.count() == 3


def test_script_and_current_version_say_which_flows_use_them(client, script, world):
    flow = reverse("admin:flows_flow_change", args=[world.flow.pk])
    pages = [
        reverse("admin:scripts_script_change", args=[script.pk]),
        page_of(script, 3),
        page_of(script, 1),
    ]

    shown = [f'href="{flow}"' in client.get(page).content.decode() for page in pages]

    assert shown == [True, True, False]


def test_a_save_without_changes_of_content_makes_no_version(client, script):
    page = reverse("admin:scripts_script_change", args=[script.pk])
    data = form_data(client.get(page))
    # As browsers send what is in a text area.
    data |= {"code": data["code"].replace("\n", "\r\n"), "description": "Reserves goods."}

    assert client.post(page, data).status_code == 302

    assert script.versions.count() == 3


def test_the_page_of_a_version_without_network_allows_no_host(client, script):
    assert "none: the network is off" in client.get(page_of(script, 3)).text

    script.network = True
    script.save()

    assert "every public one" in client.get(page_of(script, 4)).text


def test_the_times_of_versions_are_in_utc_as_they_say(client, script):
    at = datetime(2026, 11, 2, 23, 30, tzinfo=UTC)
    script.versions.filter(number=1).update(created_at=at)

    with timezone.override("Europe/Berlin"):
        content = client.get(page_of(script, 2)).content.decode()

    assert "version 1, 2026-11-02 23:30 UTC" in content

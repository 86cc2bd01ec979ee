"""What a page makes once instead of again and again is what unfold makes."""

from __future__ import annotations

import pytest
import unfold.admin
import unfold.utils
from django.contrib import admin
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import override
from unfold.widgets import UnfoldBooleanWidget

from scripts.models import Script
from tests.builders import ECHO, make_flow

pytestmark = pytest.mark.django_db


def test_a_read_only_value_is_computed_once_for_a_page(client, monkeypatch):
    make_flow("orders", [ECHO])
    script = Script.objects.get()
    computed = []
    model_admin = type(admin.site.get_model_admin(Script))

    def used_by(self, obj):
        computed.append(obj)
        return "by <one>"

    monkeypatch.setattr(model_admin, "used_by", used_by)

    page = client.get(reverse("admin:scripts_script_change", args=[script.pk])).content.decode()

    assert page.count("by &lt;one&gt;") == 1
    assert computed == [script]


def test_the_checkbox_of_a_row_is_that_of_unfold_with_the_row_s_value():
    row, plain = unfold.admin.checkbox, UnfoldBooleanWidget({}, lambda value: False)
    plain.attrs = row.attrs

    made = [row.render("_selected_action", value) for value in ("7", '"><b>')]

    assert made == [plain.render("_selected_action", value) for value in ("7", '"><b>')]


def test_a_label_that_is_escaped_and_one_that_is_not_are_not_taken_for_each_other():
    text = "<b>new</b>"

    shown = [unfold.utils.display_for_label(each, "-", {}) for each in (SafeString(text), text)]

    assert text in shown[0]
    assert text not in shown[1]
    assert "&lt;b&gt;new&lt;/b&gt;" in shown[1]


def test_signs_are_read_out_in_the_language_of_the_page():
    read_out = []

    for language in ("en", "de", "en"):
        with override(language):
            read_out.append("Yes" in unfold.utils._boolean_icon(True))

    assert read_out == [True, False, True]


def test_each_cell_of_a_list_bears_the_header_of_its_list(client):
    make_flow("orders", [ECHO])

    for name in ("flows_flow", "scripts_script"):
        response = client.get(reverse(f"admin:{name}_changelist"))
        headers = [each["text"] for each in response.context["cl"].known_headers]
        page = response.content.decode()

        assert len(headers) > 3
        assert all(f'data-label="{each}"' in page for each in headers if "<" not in each)


def test_a_part_of_a_page_that_is_refused_is_no_whole_page(client):
    response = client.get("/admin/flows/queue/999/live/", headers={"HX-Request": "true"})

    assert response.status_code == 404
    assert response.content.decode() == (
        "Page not found. There is no page at this address. What it showed may have been deleted."
    )

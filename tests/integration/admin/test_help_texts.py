"""Every field of every form has help: a unit, an effect, or what may be entered."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.test import RequestFactory

from flows.admin.configuration import ImportForm
from flows.admin.dead_letters import ReprocessForm
from flows.admin.pausing import PauseForm
from flows.admin.queue_tuning import _threads_field
from flows.models import Queue
from scripts.admin.dialogs import ReasonForm

OURS = ("flows.", "scripts.")


@pytest.fixture
def request_of(world, superuser):
    request = RequestFactory().get("/admin/")
    request.user = superuser
    return request


def without_help(fields: dict[str, Any]) -> list[str]:
    return [name for name, field in fields.items() if not (field.help_text or is_hidden(field))]


def is_hidden(field: Any) -> bool:
    return bool(field.widget.is_hidden)


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "stored"])
def test_every_field_of_a_page_has_help(request_of, world, is_new):
    found = []
    for model, page in admin.site._registry.items():
        if not type(page).__module__.startswith(OURS):
            continue
        obj = None if is_new else model._base_manager.first()
        if obj is None and not (is_new and page.has_add_permission(request_of)):
            continue
        if obj is not None and not page.has_change_permission(request_of, obj):
            continue
        forms = [page.get_form(request_of, obj, change=obj is not None)]
        for inline in page.get_inline_instances(request_of, obj):
            formset = inline.get_formset(request_of, obj)
            forms += [formset.form] if formset.max_num else []
        found += [
            f"{model._meta.model_name}.{name}"
            for form in forms
            for name in without_help(form.base_fields)
        ]

    assert found == []


def test_every_field_of_a_form_without_a_model_has_help():
    forms = (ImportForm, ReprocessForm, ReasonForm)
    found = [f"{form.__name__}.{name}" for form in forms for name in without_help(form.base_fields)]

    assert found == []
    assert PauseForm.__mro__[1] is ReasonForm
    assert _threads_field().help_text
    assert Queue._meta.get_field("rate_period").help_text

"""The form of a page as a browser would send it back."""

from __future__ import annotations

import re
from html import unescape
from typing import Any


def form_data(response: Any, *, confirmed: bool = True) -> dict[str, Any]:
    """Return what the page's form and its rows hold, as the fields of a POST.

    `confirmed`: the user has seen what the change touches.
    """
    data = _values(response.context["adminform"].form) | ({"_confirmed": ""} if confirmed else {})
    for inline in response.context.get("inline_admin_formsets") or []:
        formset = inline.formset
        data |= _values(formset.management_form)
        for form in formset.initial_forms:
            data |= _values(form)
    return data


def add_row(data: dict[str, Any], prefix: str, **values: Any) -> dict[str, Any]:
    """Return the data with one more row, as the page's "Add another" makes it."""
    index = int(data[f"{prefix}-TOTAL_FORMS"])
    row = {f"{prefix}-{index}-{name}": value for name, value in values.items()}
    return {**data, f"{prefix}-TOTAL_FORMS": index + 1, **row}


def answer_dialog(client: Any, url: str) -> Any:
    """Answer a dialog's question with yes, and return the page that it leads to."""
    response = client.post(url, {"_form_submitted": "True"}, headers={"HX-Request": "true"})
    assert response.status_code == 200
    return client.get(response["HX-Redirect"])


def act_on(client: Any, url: str, action: str, *rows: Any, **more: Any) -> Any:
    """Choose an action for rows of a list, confirm it, and return the page that comes then."""
    data = {"action": action, "_selected_action": [row.pk for row in rows]}
    asked = client.post(url, data)
    keys = asked.context["keys"]
    confirmed = data | {"_selected_action": keys, "_confirmed": "yes"} | more
    return client.post(url, confirmed, follow=True)


def sent_form(response: Any) -> dict[str, Any]:
    """Return what the form for many holds in the fields that the page has, and its count."""
    form, names = response.context["form"], field_names(response)
    return {
        **{name: form.data.get(name, "") for name in form.fields if name in names},
        "confirmed": response.context["confirmed"],
    }


def field_names(response: Any) -> set[str]:
    return set(re.findall(r'name="(\w+)"', response.content.decode()))


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def hidden_fields(response: Any) -> dict[str, str]:
    pairs = re.findall(
        r'<input type="hidden" name="([^"]+)" value="([^"]*)">', response.content.decode()
    )
    return {unescape(name): unescape(value) for name, value in pairs}


def _values(form: Any) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for bound in form:
        value = bound.value()
        if hasattr(bound.field, "fields"):
            for index, part in enumerate(bound.field.widget.decompress(value)):
                data[f"{bound.html_name}_{index}"] = "" if part is None else str(part)
        elif value is not None and value is not False:
            data[bound.html_name] = value
    return data

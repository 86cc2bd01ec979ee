"""A field that takes a row by its name, with a list of names to choose from.

A list of all scripts or queues would be long. A browser filters the names while the user types.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from unfold.widgets import UnfoldAdminTextInputWidget

# The most names that a page offers. Others can be typed.
MOST_OFFERED = 300


class NamedRowField(forms.ModelChoiceField):
    """A row of a model, entered by its name."""

    widget = UnfoldAdminTextInputWidget
    # The rows that are offered, as arguments of a filter; others are refused with a reason.
    only_offers: dict[str, Any]

    def __init__(self, queryset: QuerySet[Any], noun: str, **kwargs: Any) -> None:
        messages = {
            "invalid_choice": f"There is no such {noun}.",
            **kwargs.pop("error_messages", {}),
        }
        super().__init__(queryset, to_field_name="name", error_messages=messages, **kwargs)
        self.only_offers = {}
        self.widget.attrs |= {"autocomplete": "off"}

    def prepare_value(self, value: Any) -> Any:
        """Return the name of a row or of a primary key, as the form's initial data has it."""
        if isinstance(value, int):
            rows: Any = self.queryset
            row = rows.model._base_manager.filter(pk=value).first()
            return row.name if row else ""
        return super().prepare_value(value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return str(self.prepare_value(initial) or "") != str(data or "").strip()

    @property
    def offered(self) -> list[str]:
        found: Any = self.queryset
        rows = found.filter(**self.only_offers).order_by("name")
        return list(rows.values_list("name", flat=True)[:MOST_OFFERED])


def offer_names(form: forms.BaseForm) -> None:
    """Connect the fields of a form with the lists of names that the page shows for them."""
    for name, field in form.fields.items():
        if isinstance(field, NamedRowField):
            field.widget.attrs["list"] = f"{form[name].auto_id}_names"

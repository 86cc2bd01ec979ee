"""Rows of a form that must differ from each other."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.forms import ModelForm
from unfold.forms import PaginationInlineFormSet


class DistinctRowForm(ModelForm):
    """Shows the violation of a constraint as an error of the field that can be corrected."""

    violation: tuple[str, str] = ("", "")

    def has_changed(self) -> bool:
        # A new row counts as changed even if it holds defaults alone.
        return self.instance.pk is None or super().has_changed()

    def _update_errors(self, errors: ValidationError) -> None:
        found = errors.error_dict
        if found.pop(NON_FIELD_ERRORS, None):
            field, message = self.violation
            found.setdefault(field, []).append(ValidationError(message, code="unique"))
        super()._update_errors(errors)  # type: ignore[misc]


class DistinctRows(PaginationInlineFormSet):
    """Refuses rows that repeat an earlier one of the same form before the database does."""

    # Fields that may not repeat together, and the error at the first of them.
    distinct: tuple[tuple[tuple[str, ...], str], ...] = ()

    def clean(self) -> None:
        super().clean()
        for fields, message in self.distinct:
            seen = set()
            for form in self.kept_forms():
                values = tuple(form.cleaned_data.get(name) for name in fields)
                if values in seen and not form.errors:
                    form.add_error(fields[0], ValidationError(message, code="unique"))
                seen.add(values)

    def validate_unique(self) -> None:
        # `clean` reports the same at the row that repeats another.
        return

    def kept_forms(self) -> list[Any]:
        return [
            form
            for form in self.forms
            if getattr(form, "cleaned_data", None) and not form.cleaned_data.get("DELETE")
        ]

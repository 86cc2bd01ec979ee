"""The bounds of number fields, told in one sentence whichever of them is missed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

NUMBERS = (models.IntegerField, models.FloatField, models.DecimalField)
# The most that a column of PostgreSQL takes; the validators of SQLite do not say it.
MOST_OF_COLUMN = 2_147_483_647


def state_bounds(field: Any, form_field: Any) -> Any:
    """Have the form field of a number say its whole range. Return the form field.

    Django's validators name one bound each, and the ones of the column another than the model's.
    """
    is_number = isinstance(form_field, forms.IntegerField | forms.FloatField)
    if not isinstance(field, NUMBERS) or not is_number:
        return form_field
    least = _bound(field, MinValueValidator, max)
    most = _bound(field, MaxValueValidator, min)
    if isinstance(field, models.IntegerField):
        most = MOST_OF_COLUMN if most is None else min(most, MOST_OF_COLUMN)
    kind = "a whole number" if isinstance(field, models.IntegerField) else "a number"
    message = f"Must be {kind} {_range(least, most)}."
    form_field.validators = [
        each
        for each in form_field.validators
        if not isinstance(each, MinValueValidator | MaxValueValidator)
    ]
    form_field.error_messages["invalid"] = message
    for validator, name, bound in (
        (MinValueValidator, "min", least),
        (MaxValueValidator, "max", most),
    ):
        setattr(form_field, f"{name}_value", bound)
        if bound is not None:
            form_field.validators.append(validator(bound, message=message))
            form_field.widget.attrs[name] = bound
    return form_field


def _bound(field: Any, kind: type[Any], stricter: Any) -> Any:
    found = []
    for validator in field.validators:
        if isinstance(validator, kind):
            limit = validator.limit_value
            found.append(limit() if callable(limit) else limit)
    return stricter(found) if found else None


def _range(least: Any, most: Any) -> str:
    if least is None or most is None:
        return f"of at least {_number(least)}" if most is None else f"of at most {_number(most)}"
    if most == MOST_OF_COLUMN:
        return f"of at least {least:,} and at most {most:,}"
    return f"from {_number(least)} to {_number(most)}"


def _number(value: Any) -> str:
    return f"{value:,.10g}" if isinstance(value, float) else f"{value:,}"

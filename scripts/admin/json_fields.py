"""JSON in forms and on pages."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextareaWidget

from scripts.examination.faults import schema_fault
from scripts.protocol import json_layout
from scripts.protocol.json_text import MAX_DEPTH, is_deeper_than
from scripts.protocol.strict_json import Refused, read_plainly

MONOSPACE = "font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace;"


class CodeWidget(UnfoldAdminTextareaWidget):
    """A wide text area with letters of one width."""

    def __init__(self, rows: int = 10) -> None:
        super().__init__(
            attrs={
                "rows": rows,
                "spellcheck": "false",
                "autocomplete": "off",
                "style": f"{MONOSPACE} max-width: none; tab-size: 4; white-space: pre;"
                " overflow-x: auto;",
            }
        )


class ParametersWidget(CodeWidget):
    """A text area with a JSON Schema that a browser with JavaScript shows as a table, too."""

    class Media:
        css = {"screen": ("scripts/parameters.css",)}
        js = ("scripts/parameters.js",)

    def __init__(self, rows: int = 12) -> None:
        super().__init__(rows=rows)
        self.attrs |= {"data-parameters": ""}


class JsonObjectField(forms.JSONField):
    """A JSON object, shown indented; left empty it is `{}`."""

    widget_class: type[CodeWidget] = CodeWidget
    default_error_messages = {
        "invalid": "This is not valid JSON.",
        "not_an_object": "Must be a JSON object, written in braces: { … }.",
        "too_deep": f"It may be nested {MAX_DEPTH} deep at most.",
        "not_storable": "NaN, Infinity, \\u0000 and lone surrogates cannot be stored.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "widget": self.widget_class()})

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, forms.fields.InvalidJSONInput):
            return value
        return indented(value)

    def bound_data(self, data: Any, initial: Any) -> Any:
        # The text is shown again exactly as the user typed it.
        return forms.fields.InvalidJSONInput(data) if isinstance(data, str) else data

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str) and is_deeper_than(value.encode("utf-8", "replace"), MAX_DEPTH):
            raise ValidationError(self.error_messages["too_deep"], code="too_deep")
        try:
            if isinstance(value, str) and value.strip():
                read_plainly(value)
        except Refused as error:
            raise ValidationError(str(error), code="invalid") from error
        except (ValueError, RecursionError):
            # The field itself reports that.
            pass
        try:
            value = super().to_python(value)
        except RecursionError as error:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from error
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ValidationError(self.error_messages["not_an_object"], code="not_an_object")
        if not is_storable(value):
            raise ValidationError(self.error_messages["not_storable"], code="not_storable")
        return value


class JsonSchemaField(JsonObjectField):
    """A JSON Schema. References to other hosts are refused: nothing is fetched to check one."""

    widget_class = ParametersWidget

    def validate(self, value: Any) -> None:
        super().validate(value)
        if value and (fault := schema_fault(value)):
            raise ValidationError(f"Not a valid JSON Schema: {fault}.", code="invalid_schema")


def is_storable(value: Any) -> bool:
    """Whether every database can store the value: PostgreSQL refuses some texts of JSON."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
    except ValueError:
        return False
    return "\\u0000" not in text


def indented(value: Any) -> str:
    """Return a value as JSON on several lines, escaped where a page could not show it."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=2)
    return text


def pretty_json(text: str) -> str:
    """Return JSON text indented, digit for digit; other text is returned unchanged."""
    return json_layout.indented(text)

"""What unfold makes again and again while it renders one page, made once.

On pages with many rows that was half of the server's time. `install` puts these in unfold's place.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import unfold.admin
import unfold.forms
import unfold.utils
from django.contrib.admin import AdminSite
from django.core.exceptions import FieldDoesNotExist
from django.forms import CheckboxInput
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.functional import SimpleLazyObject
from django.utils.html import escape
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from unfold.fields import UnfoldAdminReadonlyField
from unfold.sites import UnfoldAdminSite
from unfold.templatetags import unfold_list
from unfold.widgets import UnfoldBooleanWidget

# These depend on nothing but the values of their context.
PURE_TEMPLATES = frozenset(
    f"unfold/helpers/{name}.html" for name in ("boolean", "display_label", "label")
)
# Stands for the value of a row's checkbox; no other attribute holds it.
PLACE = "value-of-the-row"


class ReadonlyField(UnfoldAdminReadonlyField):
    """Computes a value that a form shows once; unfold's templates ask for it three times or more.

    A form makes a new one of these for each look at a line, so the form keeps the values.
    """

    def contents(self) -> SafeString:
        kept: dict[Any, SafeString] = self.form.__dict__.setdefault("_readonly_contents", {})
        name = self.field["field"]
        if name not in kept:
            kept[name] = super().contents()
        return kept[name]

    def _resolve_field(self) -> Any:
        # Only the kind of a model's field is read from this. A method of the admin has none.
        try:
            self.form.instance._meta.get_field(self.field["field"])
        except FieldDoesNotExist:
            return False
        return super()._resolve_field()


class RowCheckbox(UnfoldBooleanWidget):
    """The checkbox of a row: nothing but its value changes from row to row."""

    def __init__(self, checkbox: UnfoldBooleanWidget) -> None:
        CheckboxInput.__init__(self, checkbox.attrs, checkbox.check_test)

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        if attrs or renderer:
            return super().render(name, value, attrs, renderer)
        return SafeString(self._markup(name, get_language()).replace(PLACE, escape(value)))

    @lru_cache(maxsize=64)  # noqa: B019  There is one of these, for ever.
    def _markup(self, name: str, language: str | None) -> str:
        return super().render(name, PLACE)


_list_headers = unfold_list.result_headers
_list_apps = UnfoldAdminSite.get_app_list


def result_headers(changes: Any) -> list[dict[str, Any]]:
    """Return the headers of a list, which each of its rows asks for."""
    if not hasattr(changes, "known_headers"):
        changes.known_headers = list(_list_headers(changes))
    found: list[dict[str, Any]] = changes.known_headers
    return found


def render_value(name: str, context: dict[str, Any]) -> SafeString:
    """Render the label or the sign of a value."""
    if name in PURE_TEMPLATES:
        try:
            return _rendered(name, get_language(), tuple(context), *context.values())
        except TypeError:
            # Several labels in one cell are a list, which is no key.
            pass
    return render_to_string(name, context)


# Typed: text that is escaped equals text that is not.
@lru_cache(maxsize=2048, typed=True)
def _rendered(name: str, language: str | None, keys: tuple[str, ...], *values: Any) -> SafeString:
    return render_to_string(name, dict(zip(keys, values, strict=True)))


def get_app_list(site: AdminSite, request: HttpRequest, app_label: str | None = None) -> Any:
    """Return all apps when a template reads them: the sidebar of the engine does not."""
    if app_label is not None:
        return _list_apps(site, request, app_label)
    return SimpleLazyObject(lambda: _list_apps(site, request))


def install() -> None:
    unfold.forms.UnfoldAdminReadonlyField = ReadonlyField
    unfold.admin.checkbox = RowCheckbox(unfold.admin.checkbox)
    unfold.utils.render_to_string = render_value
    unfold_list.result_headers = result_headers
    UnfoldAdminSite.get_app_list = get_app_list

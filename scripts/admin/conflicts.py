"""Keeps a page that was opened earlier from undoing what another user has saved since.

The page carries a digest of its values. Where the stored values are others when the page is sent,
nothing is saved: a page shows both values, and the user decides.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.text import capfirst

from scripts.admin.diff import diff_of_fields

if TYPE_CHECKING:
    from unfold.admin import ModelAdmin as Base
else:
    Base = object

# The field of a page with the digest of the values that it was made from.
SEEN = "_seen"
# The field of a page with a digest of each of the values.
SEEN_FIELDS = "_seen_fields"
NOT_SHOWN = "not shown"
# The header that says what became of a form. The status does not: browsers note 4xx as errors.
OUTCOME, CONFLICT = "X-Form-Outcome", "conflict"


THEIRS, MINE, BOTH = "theirs", "mine", "both"


@dataclass(frozen=True, slots=True)
class Difference:
    """A field with its stored value, the value that the page would save, and who changed it."""

    # The field's name, or the prefix of the rows.
    name: str
    label: str
    stored: str
    mine: str
    by: str = BOTH


@dataclass(frozen=True, slots=True)
class Page:
    """The forms of a change page."""

    form: Any
    formsets: list[Any]


# What the page calls the differences, and their order.
PARTS = {
    THEIRS: "Saved meanwhile",
    MINE: "Your changes, not saved yet",
    BOTH: "Changed by both: as it is stored, and as you have it",
}


class ConflictAdmin(Base):
    """Refuses to save a page whose values are no longer the stored ones."""

    # The values of these fields are never sent to a browser.
    unshown_fields: tuple[str, ...] = ()

    def unshown_state(self, obj: Any) -> str:
        """Return the values of the object that its form does not show."""
        return ""

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        obj = context.get("original")
        if obj is not None and self.has_change_permission(request, obj):
            formsets = [inline.formset for inline in context["inline_admin_formsets"]]
            page = Page(context["adminform"].form, formsets)
            # After an error the page still carries its first digest.
            context["seen_state"] = request.POST.get(SEEN) or self._digest(page, obj)
            seen_fields = request.POST.get(SEEN_FIELDS) or json.dumps(self._field_digests(page))
            context["seen_fields"] = seen_fields
        return super().render_change_form(request, context, *args, **kwargs)

    def _changeform_view(
        self, request: HttpRequest, object_id: Any, form_url: Any, extra_context: Any
    ) -> HttpResponse:
        if request.method == "POST" and object_id is not None and SEEN in request.POST:
            conflict = self._conflict(request, unquote(object_id))
            if conflict is not None:
                return conflict
        if (question := self._save_after_conflicts(request, object_id)) is not None:
            return question
        return super()._changeform_view(request, object_id, form_url, extra_context)

    def _save_after_conflicts(
        self, request: HttpRequest, object_id: str | None
    ) -> HttpResponse | None:
        """Return a page to show instead of saving, None to save."""
        return None

    def seen_state(self, form: Any) -> str:
        """Return the digest of a form's stored values, for a form outside of the change page."""
        return self._digest(Page(form, []), form.instance)

    def differences(self, stored: Any, mine: Any) -> list[Difference]:
        """Return the fields that two forms of an object differ in."""
        return list(self._differences(Page(stored, []), Page(mine, [])))

    def _conflict(self, request: HttpRequest, object_id: str) -> HttpResponse | None:
        """Return the page that shows a conflict, None where there is none."""
        obj = self.get_object(request, object_id)
        if obj is None or not self.has_change_permission(request, obj):
            return None
        # A user who saves at the same time waits here, and then gets the page of the conflict.
        self.model._base_manager.select_for_update().filter(pk=obj.pk).first()
        stored = self._page(request, object_id, is_sent=False)
        digest = self._digest(stored, stored.form.instance)
        if digest == request.POST[SEEN]:
            return None
        mine = self._page(request, object_id, is_sent=True)
        found = list(self._differences(stored, mine, _digests_of(request)))
        if not found:
            return None
        return self._conflict_page(request, obj, found, digest, self._field_digests(stored))

    def _page(self, request: HttpRequest, object_id: str, *, is_sent: bool) -> Page:
        """Return the page's forms as the browser sent them, or as they would be shown now."""
        if not is_sent:
            request = copy.copy(request)
            request.method = "GET"
        obj = self.get_object(request, object_id)
        fields = flatten_fieldsets(self.get_fieldsets(request, obj))
        form_class = self.get_form(request, obj, change=True, fields=fields)
        form = form_class(request.POST if is_sent else None, instance=obj)
        formsets, _ = self._create_formsets(request, obj, change=True)
        return Page(form, formsets)

    def _digest(self, page: Page, obj: Any) -> str:
        shown = [
            [name, _text(page.form[name], stored=True)]
            for name in page.form.fields
            if name not in self.unshown_fields and not page.form.fields[name].disabled
        ]
        rows = [[each.prefix, *_stored_rows(each)] for each in page.formsets if is_editable(each)]
        text = json.dumps([shown, rows, self.unshown_state(obj)])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def _field_digests(self, page: Page) -> dict[str, str]:
        """Return a short digest of each field and of each table of rows, by name or prefix."""
        texts = {
            name: _text(page.form[name], stored=True)
            for name in page.form.fields
            if name not in self.unshown_fields and not page.form.fields[name].disabled
        }
        rows = {each.prefix: each for each in page.formsets if is_editable(each)}
        texts |= {prefix: "\n".join(_stored_rows(each)) for prefix, each in rows.items()}
        return {name: _short_digest(text) for name, text in texts.items()}

    def _differences(
        self, stored: Page, mine: Page, seen: dict[str, str] | None = None
    ) -> Iterator[Difference]:
        """Yield the fields that differ; `seen` has the digests of what the page began with."""
        seen = seen or {}
        for name in mine.form.changed_data:
            label = capfirst(str(mine.form[name].label))
            if name in self.unshown_fields:
                yield Difference(name, label, NOT_SHOWN, NOT_SHOWN)
                continue
            texts = _text(stored.form[name]), _text(mine.form[name])
            # Another notation of the same value is no difference.
            if texts[0] != texts[1]:
                yield Difference(name, label, *texts, _changed_by(seen.get(name), *texts))
        for before, after in zip(stored.formsets, mine.formsets, strict=True):
            if is_editable(after):
                rows, sent = "\n".join(_stored_rows(before)), "\n".join(_sent_rows(after))
                if rows != sent:
                    label = capfirst(str(after.model._meta.verbose_name_plural))
                    changed_by = _changed_by(seen.get(after.prefix), rows, sent)
                    yield Difference(after.prefix, label, rows, sent, changed_by)

    def _conflict_page(
        self,
        request: HttpRequest,
        obj: Any,
        found: list[Difference],
        digest: str,
        digests: dict[str, str],
    ) -> HttpResponse:
        unshown = any(request.POST.get(name) for name in self.unshown_fields)
        left_out = {"csrfmiddlewaretoken", SEEN, SEEN_FIELDS, *self.unshown_fields}
        sent = [
            (name, value)
            for name, values in request.POST.lists()
            if name not in left_out
            for value in values
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": "Saved by another user meanwhile",
            "opts": self.opts,
            "original": obj,
            "differences": found,
            "parts": _parts(found),
            "saved": last_change(obj),
            "sent": [] if unshown else sent,
            "seen_state": digest,
            "seen_fields": json.dumps(digests),
        }
        return TemplateResponse(
            request, "admin/conflict.html", context, headers={OUTCOME: CONFLICT}
        )


def _parts(found: list[Difference]) -> list[dict[str, Any]]:
    """Return the differences by who made them, each as a diff in its direction."""
    parts = []
    for by, title in PARTS.items():
        chosen = [each for each in found if each.by == by]
        stored = {each.label: each.stored for each in chosen}
        mine = {each.label: each.mine for each in chosen}
        # What only the other user has changed is here as it was before.
        before, after = (mine, stored) if by == THEIRS else (stored, mine)
        if chosen:
            parts.append({"title": title, "diff": diff_of_fields(before, after)})
    return parts


def _digests_of(request: HttpRequest) -> dict[str, str]:
    """Return the digests that the page was sent with; none where they cannot be read."""
    try:
        found = json.loads(request.POST.get(SEEN_FIELDS, ""))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _changed_by(seen: str | None, stored: str, mine: str) -> str:
    if seen == _short_digest(mine):
        return THEIRS
    return MINE if seen == _short_digest(stored) else BOTH


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def is_editable(formset: Any) -> bool:
    return formset.max_num != 0


def _stored_rows(formset: Any) -> list[str]:
    return [_row(form, stored=True) for form in formset.initial_forms]


def _sent_rows(formset: Any) -> list[str]:
    return [
        _row(form)
        for form in formset.forms
        if not form.data.get(f"{form.prefix}-DELETE")
        and (form.instance.pk is not None or form.has_changed())
    ]


def _row(form: Any, *, stored: bool = False) -> str:
    """Return a row as a line of its fields, without hidden ones."""
    shown = [
        f"{form[name].label}: {_text(form[name], stored=stored)}"
        for name, field in form.fields.items()
        if name not in {"DELETE", form._meta.model._meta.pk.name}
        and not isinstance(field, forms.models.InlineForeignKeyField)
    ]
    return ", ".join(shown)


def _text(bound: Any, *, stored: bool = False) -> str:
    """Return a field's value as text; `stored`: its value before the page was sent."""
    field = bound.field
    value = field.prepare_value(bound.initial) if stored else bound.value()
    if isinstance(field, forms.ModelChoiceField):
        return _chosen_rows(field, value)
    if isinstance(bound.field.widget, forms.MultiWidget):
        parts = value if isinstance(value, list) else field.widget.decompress(value)
        return " ".join("" if part is None else str(part) for part in parts)
    if isinstance(field, forms.BooleanField):
        return "yes" if value else "no"
    parts = value if isinstance(value, list | tuple) else [value]
    labels: Any = {}
    if isinstance(field, forms.ChoiceField):
        choices: Any = field.choices
        labels = {str(key): label for key, label in choices}
    texts = ["" if part is None else str(labels.get(str(part), part)) for part in parts]
    return ", ".join(texts).replace("\r\n", "\n")


def _chosen_rows(field: Any, value: Any) -> str:
    """Return the names of the rows that a field points at.

    Of a field with a list of choices that was read, they are in it: rows of a table share theirs.
    """
    if value is None or value == "":
        return ""
    keys = value if isinstance(value, list | tuple) else [value]
    if isinstance(field.choices, list):
        known = {str(key): str(label) for key, label in field.choices}
        if all(str(key) in known for key in keys):
            return ", ".join(sorted(known[str(key)] for key in keys))
    try:
        rows = field.queryset.model._base_manager.filter(pk__in=keys)
        return ", ".join(sorted(map(str, rows)))
    except (TypeError, ValueError):
        # The sent value is no key; the form refuses it.
        return str(value)


def last_change(obj: Any) -> tuple[Any, Any] | None:
    """Return the time and the user of the last change of the object, as far as known."""
    if hasattr(obj, "history"):
        record = obj.history.first()
        return (record.history_date, record.history_user) if record else None
    entries = LogEntry.objects.filter(
        content_type=get_content_type_for_model(obj), object_id=str(obj.pk)
    )
    entry = entries.order_by("-action_time").first()
    return (entry.action_time, entry.user) if entry else None

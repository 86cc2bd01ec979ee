"""Asks before a change is saved that touches more than its own row.

The page shows what the change touches and what it changes. It has everything that the browser
sent, so that the user saves it with one press, or goes on editing without losing it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from scripts.admin.conflicts import ConflictAdmin
from scripts.admin.diff import diff_of_fields

if TYPE_CHECKING:
    Base = ConflictAdmin
else:
    Base = object

# The fields of a page that the user has confirmed, or wants to edit further.
CONFIRMED, EDITS = "_confirmed", "_edit"
# What becomes of runs under way: the field, and its value where those that wait are to go on with
# the version that the save makes.
RUNS, NEWEST = "_runs", "newest"


def wants_upgrade(request: HttpRequest) -> bool:
    return CONFIRMED in request.POST and request.POST.get(RUNS) == NEWEST


class ConfirmationAdmin(Base):
    """Shows what a change touches before it is saved. Stands before ConflictAdmin."""

    def impact_of(self, request: HttpRequest, obj: Any, changed: set[str], new: Any) -> Any:
        """Return what the change of these fields touches: `flows` and `notes`; or a false value.

        The names of the prefixes of rows stand for the rows.
        """
        return None

    def upgrade_runs(self, request: HttpRequest, obj: Any) -> None:
        """Have runs that wait go on with the version that the save has made."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if change and wants_upgrade(request):
            self.upgrade_runs(request, form.instance)

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form = super().get_form(request, *args, **kwargs)
        if request.method == "POST" and EDITS in request.POST:
            # The page is shown again as it was sent, without errors, and saves nothing.
            return type(form.__name__, (form,), {"is_valid": lambda self: False})
        return form

    def _save_after_conflicts(
        self, request: HttpRequest, object_id: str | None
    ) -> HttpResponse | None:
        """Return the page that asks, None where the change can be saved at once."""
        is_asked = request.method == "POST" and not {CONFIRMED, EDITS} & set(request.POST)
        if object_id is None or not is_asked:
            return None
        object_id = unquote(object_id)
        obj = self.get_object(request, object_id)
        if obj is None or not self.has_change_permission(request, obj):
            return None
        mine = self._page(request, object_id, is_sent=True)
        found = list(self._differences(self._page(request, object_id, is_sent=False), mine))
        # The forms change the instance that they check, so the stored one is another.
        is_valid = mine.form.is_valid() and all(each.is_valid() for each in mine.formsets)
        if not found or not is_valid:
            return None
        changed = {each.name for each in found}
        impact = self.impact_of(request, obj, changed, mine.form.instance)
        return self._confirmation_page(request, obj, impact, found) if impact else None

    def _confirmation_page(
        self, request: HttpRequest, obj: Any, impact: Any, differences: Any
    ) -> HttpResponse:
        sent = [
            (name, value)
            for name, values in request.POST.lists()
            if name != "csrfmiddlewaretoken"
            for value in values
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": f"Save {obj}?",
            "opts": self.opts,
            "original": obj,
            "impact": impact,
            "diff": diff_of_fields(
                {each.label: each.stored for each in differences},
                {each.label: each.mine for each in differences},
            ),
            "sent": sent,
        }
        return TemplateResponse(request, "admin/confirmation.html", context)

"""Actions on the selected rows of a list: a page first shows which and how many rows change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

# The field of the page that the user has confirmed, and the one with the reason.
CONFIRMED, REASON = "_confirmed", "reason"
# The attribute of a request whose action stores row by row: an error may come behind some of them.
STORES_ROW_BY_ROW = "stores_row_by_row"
# Each row is a field of the page. Django refuses a form of more than 1,000.
MOST_ROWS = 500
LONGEST_REASON = 500
MOST_NAMES = 20

# Takes the admin, the request and the selected rows; returns those that the action would change,
# and sentences about those that it leaves out.
Choose = Callable[[Any, HttpRequest, list[Any]], tuple[list[Any], list[str]]]
# Takes the rows that would change; returns what the page warns of before it is confirmed.
Warn = Callable[[list[Any]], str]


def bulk_action(
    verb: str,
    text: str,
    choose: Choose,
    *,
    permissions: Sequence[str],
    asks_reason: bool = False,
    is_danger: bool = False,
    warn: Warn | None = None,
) -> Callable[[Callable[..., None]], Any]:
    """Make an action that asks first, of a method that takes the rows and the reason.

    `verb` begins the title and the button, which is red where the action `is_danger`: nothing
    takes it back. `text` says what it does. A method `bulk_name` of the admin returns what the page
    calls a row.
    """

    def decorate(apply: Callable[..., None]) -> Any:
        @admin.action(
            description=f"{verb} the selected %(verbose_name_plural)s …", permissions=permissions
        )
        @wraps(apply)
        def ask_or_apply(self: Any, request: HttpRequest, queryset: Any) -> HttpResponse | None:
            selected = list(queryset[: MOST_ROWS + 1])
            if len(selected) > MOST_ROWS:
                note = f"Select at most {MOST_ROWS} {self.opts.verbose_name_plural} at once."
                self.message_user(request, note, messages.ERROR)
                return None
            rows, notes = choose(self, request, selected)
            if CONFIRMED not in request.POST:
                about: dict[str, Any] = {"verb": verb, "text": text, "asks_reason": asks_reason}
                about["variant"] = "danger" if is_danger else "primary"
                about |= {"warning": warn(rows) if warn else "", "notes": notes}
                return _question(self, request, rows, about)
            for note in notes:
                self.message_user(request, note, messages.WARNING)
            if rows:
                # Typed into a field of a form: without NUL, which no database stores.
                reason = request.POST.get(REASON, "").replace("\0", "").strip()
                setattr(request, STORES_ROW_BY_ROW, True)
                apply(self, request, rows, reason[:LONGEST_REASON])
            return None

        return ask_or_apply

    return decorate


def _question(
    model_admin: Any, request: HttpRequest, rows: list[Any], about: dict[str, Any]
) -> HttpResponse:
    opts = model_admin.opts
    noun = opts.verbose_name if len(rows) == 1 else opts.verbose_name_plural
    name_of = getattr(model_admin, "bulk_name", str)
    sentence = f"{about['verb']} {len(rows):,} {noun}"
    context = {
        **model_admin.admin_site.each_context(request),
        **about,
        "title": f"{sentence}?",
        "button": sentence,
        "opts": opts,
        "names": [name_of(row) for row in rows[:MOST_NAMES]],
        "more_names": max(len(rows) - MOST_NAMES, 0),
        "action": request.POST["action"],
        "checkbox_name": helpers.ACTION_CHECKBOX_NAME,
        "keys": [row.pk for row in rows],
        "back_url": request.get_full_path(),
    }
    return TemplateResponse(request, "admin/bulk.html", context)

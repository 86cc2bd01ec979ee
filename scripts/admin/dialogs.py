"""Dialogs before an action: htmx shows them over the page and sends the answer by POST."""

from __future__ import annotations

from django.http import HttpResponse
from unfold.dataclasses import ActionDialog


def dialog(title: str, description: str, submit: str) -> ActionDialog:
    return {
        "title": title,
        "description": description,
        "form_class": None,
        "form_submit_text": submit,
    }


def leave_dialog(url: str) -> HttpResponse:
    """Have htmx load the whole page, instead of a part of it."""
    return HttpResponse(headers={"HX-Redirect": url})

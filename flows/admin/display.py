"""How times, links, levels and errors look in lists and on pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.db import models
from django.urls import get_script_prefix, get_urlconf, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from flows.models.run import Status
from scripts.admin.durations import format_duration
from scripts.templatetags.times import moment

# unfold's colours.
STATUS_LABELS = {
    Status.QUEUED.value: "info",
    Status.RUNNING.value: "primary",
    Status.COMPLETED.value: "success",
    Status.FAILED.value: "danger",
    Status.CANCELLED.value: "warning",
}


def page_of(obj: models.Model) -> str:
    meta = obj._meta
    return address_of(f"admin:{meta.app_label}_{meta.model_name}_change", obj.pk)


def list_of(model: type[models.Model], **filters: Any) -> str:
    meta = model._meta
    url = address_of(f"admin:{meta.app_label}_{meta.model_name}_changelist")
    return f"{url}?{urlencode(filters)}" if filters else url


def address_of(name: str, *args: Any) -> str:
    """Return the address of a page. Many rows of a list have the same ones."""
    urlconf = get_urlconf() or settings.ROOT_URLCONF
    return _known_address(name, args, urlconf, get_script_prefix())


@lru_cache(maxsize=4096)
def _known_address(name: str, args: tuple[Any, ...], urlconf: Any, prefix: str) -> str:
    return reverse(name, args=args)


def link(url: str, text: Any) -> SafeString:
    return format_html('<a class="text-link" href="{}">{}</a>', url, text)


def shown_time(value: datetime | None, style: str = "") -> SafeString:
    """Return the time as a `<time>`, which the browser writes in its zone; styles: `moment`."""
    return moment(value, style)


def shown_time_by(value: datetime | None, user: Any) -> SafeString:
    shown = shown_time(value)
    return format_html("{} by {}", shown, user) if value and user else shown


def elapsed(start: datetime | None, end: datetime | None) -> str:
    """Return the time between as a short text, without microseconds."""
    if start is None or end is None:
        return ""
    return rounded(max(end - start, timedelta(0)))


def rounded(value: timedelta) -> str:
    if value < timedelta(milliseconds=0.5):
        return "< 1 ms"
    if value >= timedelta(minutes=1):
        return format_duration(timedelta(seconds=round(value.total_seconds())))
    return format_duration(timedelta(milliseconds=round(value / timedelta(milliseconds=1))))


def first_line(error: str) -> str:
    """Return the line that names the error: of a traceback the last one."""
    lines = [line for line in error.strip().splitlines() if line.strip()]
    if not lines:
        return ""
    line = lines[-1] if lines[0].startswith("Traceback") else lines[0]
    return line if len(line) <= 120 else f"{line[:119]}…"


def level(part: int, whole: int, *, warns: bool = True) -> SafeString:
    """Return `12 / 10,000` over a bar, which warns where it is nearly full."""
    percent = min(100, round(100 * part / whole)) if whole else 0
    colour = "bg-red-600" if warns and percent >= 90 else "bg-primary-600"
    return mark_safe(  # noqa: S308  numbers and a colour of ours
        f'<div style="min-width: 8rem"><div class="mb-1">{part:,} / {whole:,}'
        '</div><div class="bg-base-100 overflow-hidden rounded-default dark:bg-base-800">'
        f'<div class="{colour} rounded-default" style="height: 4px; width: {percent}%"></div>'
        "</div></div>"
    )

"""`{{ at|moment }}` writes times in UTC; in the browser `flows/times.js` changes their zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)")

SECONDS = "%Y-%m-%d %H:%M:%S"
# "exact" is never "3 min ago"; "clock" leaves out the day, "precise" too, and has milliseconds.
FORMATS = {
    **dict.fromkeys(("", "exact", "next"), SECONDS),
    "clock": "%H:%M:%S",
    "precise": "%H:%M:%S.%f",
}


@register.filter
def with_moments(text: str | None) -> SafeString:
    """Return a sentence with each time of RFC 3339 in it as a `<time>`."""
    # Every second part is what the pattern has found.
    parts = enumerate(INSTANT.split(text or ""))
    shown = ((_instant(part) if number % 2 else part,) for number, part in parts)
    return format_html_join("", "{}", shown)


def _instant(text: str) -> str:
    try:
        return moment(datetime.fromisoformat(text), "exact")
    except ValueError:
        # It only looks like a time, in a name.
        return text


@register.filter
def moment(at: datetime | None, style: str = "") -> SafeString:
    """Return a `<time>` that says UTC; the browser writes it in its zone, or as "3 min ago".

    The style is a key of `FORMATS`.
    """
    if at is None:
        return mark_safe("-")
    at = (at if timezone.is_aware(at) else timezone.make_aware(at)).astimezone(UTC)
    is_fine = style in {"exact", "precise"}
    text = f"{at:{FORMATS[style]}}"
    return format_html(
        '<time datetime="{}" title="{} UTC" data-style="{}">{} UTC</time>',
        at.isoformat(),
        f"{at:{SECONDS}.%f}"[:-3] if is_fine else f"{at:{SECONDS}}",
        style,
        text[:-3] if style == "precise" else text,
    )

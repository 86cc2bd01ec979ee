"""The field by which the server knows a form that it gets for the second time."""

from __future__ import annotations

from secrets import token_urlsafe

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from flows.admin.once import FIELD

register = template.Library()


@register.simple_tag
def once() -> SafeString:
    """Return a hidden field: what the form asks for is done once, however often it is sent."""
    return format_html('<input type="hidden" name="{}" value="{}">', FIELD, token_urlsafe(16))

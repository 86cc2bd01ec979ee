"""A hidden field that tells the server whether it has got a form before."""

from __future__ import annotations

from secrets import token_urlsafe

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from flows.admin.once import FIELD

register = template.Library()


@register.simple_tag
def once() -> SafeString:
    """Return the hidden field. The server carries the form out once, and ignores repetitions."""
    return format_html('<input type="hidden" name="{}" value="{}">', FIELD, token_urlsafe(16))

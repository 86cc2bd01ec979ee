"""The page that shows a token that was made, this once: the database holds its hash alone.

The form leads to it, so that loading it again makes no other token. In between the session holds
the token's text, encrypted.
"""

from __future__ import annotations

import shlex
import time
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.cache import add_never_cache_headers
from knox.models import get_token_model

from flows.access.tokens import NewToken, with_names_and_uses
from flows.admin.display import list_of
from flows.models import Flow
from scripts.models.encryption import decrypt, encrypt

KEY = "made_token"
# The page is asked for at once.
KEPT_SECONDS = 600.0
SHOWN_BEFORE = "A token is shown once. If you have not kept it, revoke it and make another."


def lead_to(request: HttpRequest, made: NewToken, list_url: str) -> HttpResponse:
    """Keep the token's text until its page shows it, and lead there."""
    request.session[KEY] = {
        "text": encrypt(made.text),
        "token": made.row.pk,
        "list_url": list_url,
        "at": time.time(),
    }
    return redirect("admin:own_tokens_made")


def token_made(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Show the token that was just made, and forget its text."""
    kept = request.session.pop(KEY, None) or {}
    found = with_names_and_uses(get_token_model().objects.select_related("user"))
    token: Any = found.filter(pk=kept.get("token"), user__isnull=False).first()
    if token is None or time.time() - kept["at"] > KEPT_SECONDS:
        messages.info(request, SHOWN_BEFORE)
        return redirect(kept.get("list_url") or "admin:own_tokens")
    text, list_url = decrypt(kept["text"]), kept["list_url"]
    flows = request.build_absolute_uri(reverse("api:flows"))
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "API token made",
        "opts": model_admin.opts,
        "made_token": text,
        "call": f"curl {shlex.quote(flows)} \\\n  -H 'Authorization: Bearer {text}'",
        "flows_url": list_of(Flow),
        "token_name": token.name,
        "owner": token.user,
        "expiry": token.expiry,
        "list_url": list_url,
    }
    response = TemplateResponse(request, "admin/knox/authtoken/made.html", context)
    add_never_cache_headers(response)
    return response

"""The page that shows a token that was made, this once: the database holds its hash alone."""

from __future__ import annotations

import shlex
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.cache import add_never_cache_headers

from flows.access.tokens import NewToken
from flows.admin.display import list_of
from flows.models import Flow


def token_made(
    request: HttpRequest, model_admin: Any, made: NewToken, list_url: str
) -> HttpResponse:
    text, token = made.text, made.row
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

"""The page where users make and revoke their own API tokens, whatever else they may do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget

from flows.access.tokens import (
    NewToken,
    make_token,
    most_tokens,
    revoke_token,
    token_name,
    valid_tokens,
)
from flows.admin.token_made import lead_to, token_made
from flows.errors import PasswordChanged, TooManyTokens
from flows.identity.users import is_external
from flows.models import TokenName

USUAL_DAYS = 90


class OwnTokenForm(forms.Form):
    name = forms.CharField(
        max_length=TokenName._meta.get_field("name").max_length,
        widget=UnfoldAdminTextInputWidget,
        help_text="What will use it, as in billing-service. Lists and the audit log show the name.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        most = settings.ASYNCENGINE_MAX_TOKEN_DAYS
        self.fields["days"] = forms.IntegerField(
            label="Valid for",
            min_value=1,
            max_value=most,
            initial=min(USUAL_DAYS, most),
            widget=UnfoldAdminIntegerFieldWidget,
            help_text=f"Days, at most {most}. Calls with it are refused afterwards.",
        )


def urls(model_admin: Any) -> list[URLPattern]:
    """Return the addresses, which are those of the admin of tokens."""

    def page(address: str, view: Any, name: str) -> URLPattern:
        def opened(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            answer: HttpResponse = view(request, model_admin, **kwargs)
            return answer

        return path(address, model_admin.admin_site.admin_view(opened), name=name)

    return [
        page("mine/", own_tokens, "own_tokens"),
        page("mine/made/", token_made, "own_tokens_made"),
        page("mine/<slug:key>/revoke/", revoke, "own_tokens_revoke"),
    ]


def own_tokens(request: HttpRequest, model_admin: Any) -> HttpResponse:
    """Show the tokens of the user, and make one."""
    # The tokens of an external user would go on where the provider has ended the login.
    form = None if is_external(request.user) else OwnTokenForm(request.POST or None)
    if form and form.is_valid() and (made := _made(request, form)):
        return lead_to(request, made, reverse("admin:own_tokens"))
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "My API tokens",
        "card_title": "Make a token",
        "verb": "Make the token",
        "form": form,
        "tokens": valid_tokens(request.user).order_by("-created"),
        "back_url": reverse("admin:index"),
    }
    return TemplateResponse(request, "admin/knox/authtoken/mine.html", context)


def _made(request: HttpRequest, form: OwnTokenForm) -> NewToken | None:
    """Make a token; None where it is refused."""
    given = form.cleaned_data
    try:
        return make_token(request.user, given["name"].strip(), timedelta(days=given["days"]))
    except TooManyTokens:
        form.add_error(
            None, f"You have {most_tokens()} tokens, the most that a user may have: revoke some."
        )
    except PasswordChanged as error:
        form.add_error(None, str(error))
    return None


def revoke(request: HttpRequest, model_admin: Any, key: str) -> HttpResponse:
    """Ask whether to revoke one of the user's tokens, and do so."""
    token = valid_tokens(request.user).filter(token_key=key).first()
    if token is None:
        raise Http404
    if request.method == "POST":
        revoke_token(request.user, key)
        messages.success(request, f"The token {token_name(token)} was revoked.")
        return redirect("admin:own_tokens")
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Revoke the token?",
        "card_title": token_name(token),
        "verb": "Revoke the token",
        "token": token,
        "back_url": reverse("admin:own_tokens"),
    }
    return TemplateResponse(request, "admin/knox/authtoken/revoke.html", context)

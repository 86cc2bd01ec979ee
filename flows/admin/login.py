"""The login page of the Configuration Manager. It counts failed logins together with the API."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.forms import AuthenticationForm

from flows.access.addresses import caller_network
from flows.admin.issuer_login import way_in
from flows.api.errors import Problem
from flows.api.logins import failed_logins
from flows.models.users import is_possible_name
from scripts.admin.site import site


class LoginForm(AuthenticationForm):
    """`refusal` is set when too many logins failed: the password was not checked."""

    refusal: Problem | None = None

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username")
        if self.request is None or not name or not self.cleaned_data.get("password"):
            return super().clean()
        try:
            with failed_logins.watch(caller_network(self.request), name, ValidationError):
                return self._clean(name)
        except Problem as problem:
            self.refusal = problem
            wait = problem.headers["Retry-After"]
            message = f"Too many logins have failed. Try again in {wait} seconds."
            raise ValidationError(message, code=problem.type) from problem

    def _clean(self, name: str) -> dict[str, Any]:
        try:
            return super().clean()
        except ValueError as error:
            if is_possible_name(name):
                raise
            raise self.get_invalid_login_error() from error


def login_page(request: HttpRequest) -> HttpResponse:
    """Answer as Django's page does, with 429 and Retry-After after too many failed logins."""
    context = {"issuer_login": way_in(request), "session_ended": _comes_from_a_page(request)}
    response = site.login(request, context)
    form = (getattr(response, "context_data", None) or {}).get("form")
    if refusal := getattr(form, "refusal", None):
        response.status_code = refusal.status
        response["Retry-After"] = refusal.headers["Retry-After"]
    return response


def _comes_from_a_page(request: HttpRequest) -> bool:
    """Say whether a page of ours led here, which had been opened with a session."""
    try:
        came_from = urlsplit(request.headers.get("Referer", ""))
    except ValueError:
        return False
    home = reverse("admin:index")
    return (
        REDIRECT_FIELD_NAME in request.GET
        and came_from.netloc == request.get_host()
        and came_from.path.startswith(home)
        and came_from.path not in {reverse("admin:login"), reverse("admin:logout")}
    )

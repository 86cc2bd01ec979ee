"""The login page of the Configuration Manager: failed logins are counted as those of the API."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from unfold.forms import AuthenticationForm

from flows.api.errors import Problem
from flows.api.logins import address_of, failed_logins
from flows.models.users import is_possible_name


class LoginForm(AuthenticationForm):
    """`refusal` says that the password was not looked at, and when it will be."""

    refusal: Problem | None = None

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username")
        if self.request is None or not name or not self.cleaned_data.get("password"):
            return super().clean()
        try:
            with failed_logins.watch(address_of(self.request), name, ValidationError):
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
    """Answer as Django's page does, but say with the status that it was too often."""
    response = admin.site.login(request)
    form = (getattr(response, "context_data", None) or {}).get("form")
    if refusal := getattr(form, "refusal", None):
        response.status_code = refusal.status
        response["Retry-After"] = refusal.headers["Retry-After"]
    return response

"""Checks of the settings of the identity provider: half of them is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register

from flows.identity.options import Options, is_safe, options
from scripts.checks import ENGINE

PREFIX = "ASYNCENGINE_OIDC_"


@register(ENGINE)
def identity_provider_is_complete(**kwargs: Any) -> list[CheckMessage]:
    return list(faults_of(options()))


def faults_of(given: Options) -> Iterator[CheckMessage]:
    for missing, without in _missing(given):
        yield Error(
            f"{PREFIX}{missing} is not set: {without}.",
            hint=f"Set it, or none of the variables {PREFIX}….",
            id="flows.E010",
        )
    if given.issuer and not is_safe(given.issuer):
        yield Error(
            f"{PREFIX}ISSUER is no https address: its keys could be changed on their way.",
            hint="Begin it with https://. Only an issuer on this machine may have http://.",
            id="flows.E011",
        )
    if given.audience and given.audience == given.client_id:
        yield Warning(
            f"{PREFIX}AUDIENCE and {PREFIX}CLIENT_ID are the same: the API also takes ID tokens,"
            " which are meant for a login.",
            hint="Have the issuer give the API an audience of its own.",
            id="flows.W018",
        )


def _missing(given: Options) -> Iterator[tuple[str, str]]:
    """Yield the names of settings that others need, with what happens without them."""
    others = given.audience or given.client_id or given.client_secret
    if not given.issuer and (others or given.role_claim or given.staff_roles):
        yield "ISSUER", "the other settings of the identity provider have no effect"
    if given.issuer and not others:
        yield "AUDIENCE", "the API takes no tokens of the issuer"
    if given.client_secret and not given.client_id:
        yield "CLIENT_ID", "there is no login at the issuer"
    if given.client_id and not given.client_secret:
        yield "CLIENT_SECRET", "there is no login at the issuer"
    if given.staff_roles and not given.role_claim:
        yield "ROLE_CLAIM", f"{PREFIX}STAFF_ROLES has no effect"

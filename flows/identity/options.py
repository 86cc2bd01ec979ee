"""The settings of the identity provider. Without an issuer there is none."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from django.conf import settings


@dataclass(frozen=True, slots=True)
class Options:
    issuer: str
    audience: str
    role_claim: str
    staff_roles: frozenset[str]
    client_id: str
    client_secret: str
    name: str

    @property
    def takes_tokens(self) -> bool:
        """Whether callers of the API may come with tokens of the issuer."""
        return bool(self.issuer and self.audience)

    @property
    def takes_logins(self) -> bool:
        """Whether users of the pages may log in at the issuer."""
        return bool(self.issuer and self.client_id and self.client_secret)


def options() -> Options:
    issuer = settings.ASYNCENGINE_OIDC_ISSUER
    return Options(
        issuer=issuer,
        audience=settings.ASYNCENGINE_OIDC_AUDIENCE,
        role_claim=settings.ASYNCENGINE_OIDC_ROLE_CLAIM,
        staff_roles=frozenset(settings.ASYNCENGINE_OIDC_STAFF_ROLES),
        client_id=settings.ASYNCENGINE_OIDC_CLIENT_ID,
        client_secret=settings.ASYNCENGINE_OIDC_CLIENT_SECRET,
        name=settings.ASYNCENGINE_OIDC_NAME or _host_of(issuer),
    )


def _host_of(url: str) -> str:
    """Return the host, "" where the text is no URL: the check of the issuer says so."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_safe(url: str) -> bool:
    """Say whether what the URL gives cannot be changed on its way: https, or this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        # Refused if it is no number.
        _ = parts.port
    except ValueError:
        return False
    return bool(host) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    )


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def discovery_url(issuer: str) -> str:
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"

"""What a verified token says. Without the library that verifies it: most processes need none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# How far the clocks of the issuer and of this machine may differ.
LEEWAY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Claims:
    """Times are seconds since 1970."""

    issuer: str
    subject: str
    issued_at: float
    expires_at: float
    all: Mapping[str, Any]

    @property
    def valid_until(self) -> float:
        """When the token is refused here."""
        return self.expires_at + LEEWAY_SECONDS


def looks_like_token(text: str) -> bool:
    """Say whether it may be a JSON Web Token: other tokens have no dots."""
    return text.count(".") == 2

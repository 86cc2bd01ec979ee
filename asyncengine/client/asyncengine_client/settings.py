"""Where the engine is, and who calls."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import httpx

from asyncengine_client.errors import ClientError

URL, TOKEN = "ASYNCENGINE_URL", "ASYNCENGINE_TOKEN"
# An answer takes longer only where the engine was asked to hold it.
TIMEOUT = httpx.Timeout(30.0, connect=10.0)


@dataclass(frozen=True, slots=True)
class Settings:
    """The base address and the login; what is not given is taken from the environment."""

    url: str | None
    token: str | None
    user: tuple[str, str] | None

    def of_httpx(self, options: dict[str, Any]) -> dict[str, Any]:
        url = self.url or os.environ.get(URL)
        if not url:
            raise ClientError(f"The address of the engine is missing: give it, or set {URL}.")
        if not url.startswith(("http://", "https://")):
            raise ClientError(f"The address {url!r} does not begin with http:// or https://.")
        headers = httpx.Headers({"Accept": "application/json, application/problem+json"})
        token = self.token or (None if self.user else os.environ.get(TOKEN))
        if token:
            headers["Authorization"] = f"Bearer {token}"
        # A page below which the API is.
        base = url.rstrip("/").removesuffix("/async/api")
        own = {"base_url": base, "auth": self.user, "timeout": TIMEOUT}
        headers.update(options.get("headers"))
        return own | options | {"headers": headers}

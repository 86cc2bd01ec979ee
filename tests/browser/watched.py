"""What a page does beside showing: errors in its console, and requests to other hosts."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit


class Watched:
    """Collects it from the beginning of a page."""

    def __init__(self, page: Any, host: str) -> None:
        self.host = host
        self.found: list[str] = []
        # Chromium reports answers of 4xx and 5xx there; a test may expect one.
        self.expected: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        page.on("request", self._on_request)

    def check(self) -> None:
        """Fail where something was found that was not expected, and forget it."""
        found, self.found = self.found, []
        expected, self.expected = self.expected, []
        unexpected = [each for each in found if not any(words in each for words in expected)]
        assert not unexpected, "\n".join(unexpected)

    def _on_console(self, message: Any) -> None:
        if message.type == "error":
            self.found.append(f"console: {message.text} ({message.location.get('url')})")

    def _on_request(self, request: Any) -> None:
        address = urlsplit(request.url)
        if address.scheme not in {"data", "blob", "about"} and address.netloc != self.host:
            self.found.append(f"another host: {request.url}")

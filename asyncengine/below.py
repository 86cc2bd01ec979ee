"""The API below an `include()` of a project, with the streams and waits of the engine's own server.

Django's handlers hold a thread for each caller that waits, and cannot tell a stream when its login
has ended. So the calls of the API go to the engine's front, which has the project's own handler
answer them, and all else goes to the project's application as before.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.core.wsgi import get_wsgi_application

from flows.api.errors import answer_to
from flows.api.events import check
from flows.front.application import Front


class EngineBelow:
    """The ASGI application of a project that includes `asyncengine.urls` at a path."""

    def __init__(self, application: Any, path: str) -> None:
        self._application = application
        self._root = f"/{path.strip('/')}".rstrip("/")
        self._front = Front(get_wsgi_application(), answer_to, check=check)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith(f"{self._root}/async/"):
            await self._application(scope, receive, send)
            return
        whole = {"raw_path": scope.get("raw_path") or quote(path).encode()}
        inner = scope | whole | {"path": path.removeprefix(self._root)}
        await self._front(inner, receive, send)

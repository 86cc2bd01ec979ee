"""Headers for pages of other origins, of the answers that the front gives by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncengine.settings import origins
from flows.api.errors import answer_to
from flows.front.application import Front
from flows.front.streams import STREAM
from flows.monitoring.events.selection import Selection

PAGE = "https://pages.example.org"
ALLOWED = {"access-control-allow-origin": PAGE, "vary": "origin"}
EVENTS, START = "/async/api/events", "/async/api/start"


class FrontOfStreams(Front):
    """A front whose view opens a stream, and whose streams end at once."""

    def __init__(self) -> None:
        super().__init__(self.open_stream, answer_to, threads=1, check=lambda tickets: [])
        assert self._event_streams
        self._event_streams.enter = lambda stream: stream.end()  # type: ignore[method-assign]

    def open_stream(self, environ: Any, start_response: Any) -> list[bytes]:
        sight: Any = None
        environ[STREAM].open(Selection(sight), None, 1, None)
        start_response("200 OK", [])
        return [b""]

    def headers(self, method: str, path: str, length: int = 0) -> dict[str, str]:
        """Return the headers of the answer to a call from the page."""
        headers = [(b"origin", PAGE.encode()), (b"content-length", str(length).encode())]
        scope = {
            "type": "http",
            "method": method,
            "http_version": "1.1",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": headers,
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return await asyncio.Future() if sent else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(self(scope, receive, send))
        return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.fixture
def allowed(settings: Any) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "corsheaders.middleware.CorsMiddleware"]
    settings.CORS_ALLOWED_ORIGINS = [PAGE]


OWN_ANSWERS = [
    ("GET", "/async/health/live", 0),
    ("POST", START, 1_000_000_000),
    ("GET", EVENTS, 0),
]


@pytest.mark.parametrize(("method", "path", "length"), OWN_ANSWERS)
def test_pages_of_other_origins_may_read_what_the_front_answers_by_itself(
    allowed: None, method: str, path: str, length: int
):
    headers = FrontOfStreams().headers(method, path, length)

    assert headers.items() >= ALLOWED.items()
    assert "Retry-After" in headers["access-control-expose-headers"]


@pytest.mark.parametrize(("method", "path", "length"), OWN_ANSWERS)
def test_without_the_setting_no_answer_says_anything_of_origins(
    method: str, path: str, length: int
):
    headers = FrontOfStreams().headers(method, path, length)

    assert not [name for name in headers if name.startswith("access-control") or name == "vary"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("", []),
        ("*", ["*"]),
        (
            "https://Pages.example.org:443/, http://localhost:3000",
            [PAGE, "http://localhost:3000"],
        ),
        ("https://bücher.example", ["https://xn--bcher-kva.example"]),
    ],
)
def test_origins_are_written_as_browsers_do(
    monkeypatch: pytest.MonkeyPatch, written: str, read: list[str]
):
    monkeypatch.setenv("ASYNCENGINE_CORS_ORIGINS", written)

    assert origins("ASYNCENGINE_CORS_ORIGINS") == read


@pytest.mark.parametrize(
    "written", ["pages.example.org", "https://h/app", "*, https://h", "https://*.h.org", "null"]
)
def test_what_is_no_origin_is_refused_by_the_name_of_the_setting(
    monkeypatch: pytest.MonkeyPatch, written: str
):
    monkeypatch.setenv("ASYNCENGINE_CORS_ORIGINS", written)

    with pytest.raises(Exception, match="ASYNCENGINE_CORS_ORIGINS"):
        origins("ASYNCENGINE_CORS_ORIGINS")

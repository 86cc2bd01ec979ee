"""A page of another origin calls a running installation, in a browser."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.acceptance.installation import PASSWORD, Installation, installation_in

# An installation of its own, and a browser.
pytestmark = [pytest.mark.long, pytest.mark.browser]

LOGIN = "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
ECHO = {
    "scripts": [{"name": "echo", "code": "def run(message, context):\n    return message\n"}],
    "queues": [{"name": "echo"}],
    "flows": [{"name": "echo", "steps": [{"script": "echo", "queue": "echo"}]}],
}
# Each returns what the page could read.
START = """async ([url, login, key]) => {
    const answer = await fetch(`${url}/async/api/start?flowName=echo`, {
        method: "POST",
        body: '{"n": 1}',
        headers: {
            "Authorization": login, "Content-Type": "application/json", "Idempotency-Key": key,
        },
    });
    return [answer.status, answer.headers.get("Location"), (await answer.json()).statusUrl];
}"""
EVENTS = """async ([url, login]) => {
    const started = await fetch(`${url}/async/api/start?flowName=echo`, {
        method: "POST",
        body: '{"n": 2}',
        headers: {"Authorization": login, "Content-Type": "application/json"},
    });
    const id = started.headers.get("X-Correlation-Id");
    const stream = await fetch(`${url}/async/api/runs/${id}/events`, {
        headers: {"Authorization": login, "Last-Event-ID": "0-0"},
    });
    const text = stream.status === 200 ? await stream.text() : "";
    return [stream.status, text.includes("run-finished")];
}"""
REFUSALS = """async ([url, login]) => {
    const bearer = {"Authorization": "Bearer nothing"};
    const large = {method: "POST", body: "x".repeat(2_000_000), headers: {"Authorization": login}};
    const path = `${url}/async/api/start?flowName=echo`;
    const read = [];
    for (const [address, options] of [
        [`${url}/async/health/live`, {}],
        [`${url}/async/api/runs`, {headers: bearer}],
        [`${url}/async/api/events`, {headers: bearer}],
        [path, large],
    ]) {
        read.push((await fetch(address, options)).status);
    }
    return read;
}"""
DENIED = """async ([url]) => {
    try { await fetch(`${url}/admin/login/`); return "read"; } catch (error) { return "denied"; }
}"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve an empty page, and return its origin."""
    directory = tmp_path_factory.mktemp("pages")
    (directory / "index.html").write_text("<!doctype html><title>A page</title>")
    handler = partial(QuietHandler, directory=str(directory))
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def served(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory: Path = tmp_path_factory.mktemp("served")
    with installation_in(directory) as installation:
        installation.environment["ASYNCENGINE_CORS_ORIGINS"] = origin
        installation.up("--no-demo")
        installation.configure(ECHO)
        yield installation


@pytest.fixture(scope="module")
def page(origin: str) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("there is no chromium on the path")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.goto(origin)
        yield opened
        browser.close()


def test_a_page_of_another_origin_starts_runs_and_follows_them(page: Any, served: Installation):
    url = f"http://127.0.0.1:{served.port}"

    # The second one is answered without the view.
    for key in ("a", "b"):
        status, location, status_url = page.evaluate(START, [url, LOGIN, key])
        assert (status, location) == (202, status_url)
    assert page.evaluate(EVENTS, [url, LOGIN]) == [200, True]
    assert page.evaluate(REFUSALS, [url, LOGIN]) == [200, 401, 401, 413]
    assert page.evaluate(DENIED, [url]) == "denied"

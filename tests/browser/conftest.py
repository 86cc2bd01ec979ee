"""A browser that is logged in to a server of the tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

PATIENCE_MS = 60_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Chromium. It ends with the module: playwright keeps a loop running in this thread."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on the path")
    # Django would refuse the queries of the tests because of the loop.
    with pytest.MonkeyPatch.context() as patch, playwright.sync_playwright() as started:
        patch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        found = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def live(browser: Any, settings: Any, transactional_db: None, live_server: Any) -> str:
    """Return the address of a web server on the database of the test."""
    settings.ALLOWED_HOSTS = ["*"]
    address: str = live_server.url
    return address


@pytest.fixture
def page(live: str, browser: Any) -> Iterator[Any]:
    """Return a page of a superuser. The test fails where the page reports an error."""
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="secret"))
    context = browser.new_context(base_url=live, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    cookie = client.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": live}])
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []

"""A browser that is logged in to a server of the tests.

The tests of a module share a browser, a server and a database. The database is empty for each test
with `page`; what a module with `open_page` has made stays until its end. A test fails where a page
writes an error to the console, raises one, or asks another host.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from django.test import Client, override_settings
from django.test.testcases import LiveServerThread
from pytest_django import DjangoDbBlocker

from flows.plan import flow_name_of, keep_of, meeting_plan, step_plan
from flows.store.telling import flow_id_of
from tests.browser.watched import Watched
from tests.databases import migrated_database

PATIENCE_MS = 60_000
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Chromium. It ends with the module: playwright keeps a loop running in this thread."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    # Chromium without windows, which starts and draws with less, or the whole one.
    chromium = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on the path")
    # Django would refuse the queries of the tests because of the loop.
    with pytest.MonkeyPatch.context() as patch, playwright.sync_playwright() as started:
        patch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        playwright.expect.set_options(timeout=PATIENCE_MS)
        found = started.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def database(
    browser: Any, django_db_blocker: DjangoDbBlocker, tmp_path_factory: Any
) -> Iterator[None]:
    """Have one database for the tests of the module, one connection a thread.

    It comes after the browser: beside the loop, Django has connections apart from those of before.
    """
    directory = tmp_path_factory.mktemp("browser")
    with (
        pytest.MonkeyPatch.context() as patch,
        django_db_blocker.unblock(),
        migrated_database(directory) as url,
    ):
        outer = connections[DEFAULT_DB_ALIAS]
        name = dj_database_url.parse(url)["NAME"]
        patch.setitem(connections.databases[DEFAULT_DB_ALIAS], "NAME", name)
        connections[DEFAULT_DB_ALIAS] = inner = outer.copy()
        forget_keys()
        yield
        inner.close()
        connections[DEFAULT_DB_ALIAS] = outer
        forget_keys()


def forget_keys() -> None:
    """Forget what the process knows by its key: in another database the key is of another."""
    ContentType.objects.clear_cache()
    for known in (step_plan, meeting_plan, flow_name_of, keep_of, flow_id_of):
        known.cache_clear()


@pytest.fixture(scope="module")
def server(database: None, tmp_path_factory: Any) -> Iterator[str]:
    """Serve the database of the module, and return the address."""
    # whitenoise serves the files; Django's own handler would look for them again and again.
    thread = LiveServerThread("127.0.0.1", static_handler=lambda application: application)
    with override_settings(STATIC_ROOT=tmp_path_factory.mktemp("static"), WHITENOISE_MAX_AGE=3600):
        thread.daemon = True
        thread.start()
        thread.is_ready.wait()
        assert thread.error is None
        yield f"http://{thread.host}:{thread.port}"
        thread.terminate()


@pytest.fixture
def live(server: str) -> Iterator[str]:
    """Return the address of the server. Its database is empty before and after the test."""
    yield server
    call_command("flush", verbosity=0, interactive=False)


@pytest.fixture
def page(live: str, browser: Any) -> Iterator[Any]:
    """Return a page of a superuser. The test fails where the page reports an error."""
    root = User.objects.create_superuser("root", password="secret")
    opened = page_of(root, browser, live)
    yield opened
    opened.context.close()
    opened.watched.check()


@pytest.fixture(scope="module")
def new_page(browser: Any, server: str) -> Iterator[Any]:
    """Return a function that gives a page on the database of the module, as `page_of`."""
    with ExitStack() as stack:

        def new(user: User | None, *look: Any) -> Any:
            opened = page_of(user, browser, server, *look)
            stack.callback(opened.context.close)
            return opened

        yield new


@pytest.fixture
def open_page(new_page: Any) -> Iterator[Any]:
    """Return a function that gives a new page, which is watched until the test ends."""
    pages = []

    def open_as(user: User | None, *look: Any) -> Any:
        pages.append(new_page(user, *look))
        return pages[-1]

    yield open_as
    for opened in pages:
        opened.context.close()
        opened.watched.check()


def page_of(
    user: User | None,
    browser: Any,
    address: str,
    scheme: str = "light",
    size: dict[str, int] = DESKTOP,
) -> Any:
    """Return a page of a new context, without the work of a login."""
    context = browser.new_context(base_url=address, color_scheme=scheme, viewport=size)
    context.set_default_timeout(PATIENCE_MS)
    if user is not None:
        client = Client()
        client.force_login(user)
        name = django_settings.SESSION_COOKIE_NAME
        cookie = {"name": name, "value": client.cookies[name].value, "url": address}
        context.add_cookies([cookie])
    page = context.new_page()
    page.watched = Watched(page, urlsplit(address).netloc)
    return page

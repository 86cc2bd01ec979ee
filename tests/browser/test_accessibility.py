"""axe-core finds nothing serious on any page, in light and dark, on a desktop and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.admin_pages import ADDRESSES, PAGES, Page, addresses
from tests.browser.axe import dangling_descriptions, serious_violations
from tests.browser.conftest import DESKTOP, PHONE
from tests.furnished import furnish

# A superuser is refused by pages that look like each other: one of them stands for all.
REFUSED = next(page for page in PAGES if page.status == 403)
SHOWN = [page for page in PAGES if page.status == 200 or page is REFUSED]
# Each has a template that the others have not. The default run takes only these.
DIFFERENT = {
    *("index", "flows_flow_changelist", "flows_flow_change", "flows_flow_start"),
    *("flows_queue_change", "flows_run_changelist", "flows_run_change_failed"),
    *("flows_deadletter_changelist", "flows_deadletter_reprocess", "flows_reprocessing_begin"),
    *("flows_rolemapping_matrix", "flows_queue_simple_history", "flows_queue_delete"),
    *("auth_user_change", "scripts_script_change", REFUSED.label),
}
LONG = pytest.mark.long


@pytest.fixture(scope="module")
def user(database: None) -> User:
    return furnish(3)


@pytest.fixture(scope="module")
def kept_page(new_page: Any) -> Any:
    """Return a function that gives one page for all tests that want it like this."""
    kept: dict[tuple[Any, ...], Any] = {}

    def keep(*wanted: Any) -> Any:
        key = (wanted[0], wanted[1], wanted[2]["width"])
        kept[key] = kept.get(key) or new_page(*wanted)
        return kept[key]

    return keep


@pytest.fixture
def show(kept_page: Any, server: str, user: User) -> Iterator[Any]:
    """Return a function that shows an address; its page is watched until the test ends."""
    pages = []

    def show(url: str, status: int, scheme: str, size: dict[str, int], user: Any = user) -> Any:
        pages.append(page := kept_page(user, scheme, size))
        if status != 200:
            page.watched.expected.append(f"status of {status}")
        answer = page.goto(url)
        # And not the login page, where the session has ended.
        assert (answer.status, page.url) == (status, f"{server}{url}")
        return page

    yield show
    for page in pages:
        page.watched.check()


def looks() -> Iterator[Any]:
    """Yield each page in light on a desktop, and as a long test each in the other three ways."""
    for page in SHOWN:
        marks = () if page.label in DIFFERENT else LONG
        yield pytest.param(page, "light", DESKTOP, id=f"{page.label}-light", marks=marks)
    for scheme, size, name in (
        ("dark", DESKTOP, "dark"),
        ("light", PHONE, "phone"),
        ("dark", PHONE, "dark phone"),
    ):
        for page in SHOWN:
            yield pytest.param(page, scheme, size, id=f"{page.label}-{name}", marks=LONG)


@pytest.mark.parametrize(("page", "scheme", "size"), [*looks()])
def test_page_has_no_serious_fault(
    show: Any, page: Page, scheme: str, size: dict[str, int]
) -> None:
    shown = show(page.url(), page.status, scheme, size)

    assert_accessible(shown)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_login_page_has_no_serious_fault(show: Any, scheme: str) -> None:
    shown = show("/admin/login/", 200, scheme, DESKTOP, None)

    assert_accessible(shown)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_of_an_unknown_address_has_no_serious_fault(show: Any, scheme: str) -> None:
    shown = show("/admin/nothing/", 404, scheme, DESKTOP)

    assert_accessible(shown)


def test_the_table_of_pages_names_every_address_of_the_admin() -> None:
    assert {page.name for page in ADDRESSES} == set(addresses())


def assert_accessible(page: Any) -> None:
    found = [*serious_violations(page), *dangling_descriptions(page)]
    assert not found, "\n\n".join(found)

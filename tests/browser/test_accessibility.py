"""axe-core finds nothing serious on any page, in light and dark, on a desktop and on a phone.

No table is wider than the phone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.admin_pages import ADDRESSES, PAGES, Page, addresses
from tests.browser.axe import dangling_descriptions, serious_violations
from tests.browser.conftest import PHONE
from tests.browser.contrast import pale_fields
from tests.browser.looks import LIGHT, LOOKS, Look, look_like
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
    return furnish(2)


@pytest.fixture(scope="module")
def kept_page(new_page: Any) -> Any:
    """Return a function that gives one page for all tests of a user, or of no user."""
    return cache(new_page)


@pytest.fixture
def show(kept_page: Any, server: str, user: User) -> Iterator[Any]:
    """Return a function that shows an address; its page is watched until the test ends."""
    pages = []

    def show(url: str, status: int, user: Any = user) -> Any:
        pages.append(page := kept_page(user))
        if status != 200:
            page.watched.expected.append(f"status of {status}")
        look_like(page, LIGHT)
        answer = page.goto(url)
        # And not the login page, where the session has ended.
        assert (answer.status, page.url) == (status, f"{server}{url}")
        return page

    yield show
    for page in pages:
        page.watched.check()


def looks() -> Iterator[Any]:
    """Yield each page with the looks that a test is to see: one of some pages is in every run."""
    for page in SHOWN:
        if page.label in DIFFERENT:
            yield pytest.param(page, [LIGHT], id=f"{page.label}-light")
            yield pytest.param(page, LOOKS[1:], id=f"{page.label}-other looks", marks=LONG)
        else:
            yield pytest.param(page, LOOKS, id=page.label, marks=LONG)


@pytest.mark.parametrize(("page", "looks"), [*looks()])
def test_page_has_no_serious_fault(show: Any, page: Page, looks: list[Look]) -> None:
    shown = show(page.url(), page.status)

    assert_accessible(shown, looks)


def test_login_page_has_no_serious_fault(show: Any) -> None:
    shown = show("/admin/login/", 200, None)

    assert_accessible(shown, LOOKS[:2])


@pytest.mark.parametrize(
    "page", ["scripts/", "reference/metrics/", "flows/access/", "search/?q=retry", "nothing/"]
)
def test_page_of_the_documentation_has_no_serious_fault(show: Any, page: str) -> None:
    shown = show(f"/async/docs/{page}", 404 if page == "nothing/" else 200, None)

    assert_accessible(shown, [LOOKS[0], LOOKS[3]])
    assert shown.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_page_of_an_unknown_address_has_no_serious_fault(show: Any) -> None:
    shown = show("/admin/nothing/", 404)

    assert_accessible(shown, LOOKS[:2])


def test_a_fault_of_one_look_is_found_on_the_page_that_is_turned_to_it(show: Any) -> None:
    page = show("/admin/nothing/", 404)
    page.evaluate(
        """() => {
            const sheet = new CSSStyleSheet();
            sheet.replaceSync("@media (max-width: 500px) { .dark h1 { color: #222 !important } }");
            document.adoptedStyleSheets = [sheet];
        }"""
    )

    found = faults(page, LOOKS)

    assert {look for look in LOOKS if "color-contrast" in found[look]} == {LOOKS[-1]}


def test_the_table_of_pages_names_every_address_of_the_admin() -> None:
    assert {page.name for page in ADDRESSES} == set(addresses())


def assert_accessible(page: Any, looks: list[Look]) -> None:
    assert faults(page, looks) == dict.fromkeys(looks, "")


def faults(page: Any, looks: list[Look]) -> dict[Look, str]:
    """Return what is wrong with an open page in each of its looks."""
    found = {}
    for look in looks:
        look_like(page, look)
        wide = tables_wider_than(page) if look.is_phone else []
        seen = [*serious_violations(page), *dangling_descriptions(page), *pale_fields(page)]
        found[look] = "\n\n".join([*seen, *wide])
    return found


def tables_wider_than(page: Any) -> list[str]:
    """Return the tables that a phone has to scroll sideways; not the matrix, one column a role."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("table:not(.rights-matrix)")]
            .filter((table) => table.getBoundingClientRect().right > innerWidth)
            .map((table) => `too wide: ${table.outerHTML.slice(0, 200)}`)"""
    )
    return found

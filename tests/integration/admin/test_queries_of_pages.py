"""No page makes a query for each row that it shows."""

from __future__ import annotations

from collections import Counter

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from flows.monitoring import kept
from tests.admin_pages import PAGES, PARTS, Page
from tests.furnished import furnish, furnish_more

FEW, MANY = 2, 16
# Queries that a page makes once more: a list that took too long looks again at its newest rows.
# A query for each row makes 14 more.
ONCE_MORE = 3
# Home, and the part of it that refreshes itself, ask for curves, steps and waits where there are
# more queues than they show by themselves.
ONCE_MORE_OF = {"index": 8, "flows_home": 8}

SHOWN = [page for page in (*PAGES, *PARTS) if page.status == 200]


@pytest.mark.long
def test_no_page_asks_for_each_of_its_rows(db: None) -> None:
    client = Client()
    client.force_login(furnish(FEW))
    for page in SHOWN:
        # What a process asks once is not counted.
        client.get(page.url())
    of_few = {page.label: queries(client, page) for page in SHOWN}
    furnish_more(FEW, MANY)

    more = {}
    for page in SHOWN:
        most = of_few[page.label].total() + ONCE_MORE_OF.get(page.label, ONCE_MORE)
        asked = queries(client, page)
        if asked.total() > most:
            # A second look: what changed since is read once by each process.
            asked = queries(client, page)
        if asked.total() > most:
            more[page.label] = (most, asked.total(), (asked - of_few[page.label]).most_common(3))
    assert not more, "\n".join(f"{label}: {each}" for label, each in more.items())


def queries(client: Client, page: Page) -> Counter[str]:
    """Return what the page asks, each kind of query once with how often.

    Of the home page with what a process asks now and then alone.
    """
    kept.forget()
    with CaptureQueriesContext(connection) as caught:
        assert client.get(page.url()).status_code == page.status
    return Counter(each["sql"][:120] for each in caught.captured_queries)

"""Measures every page of the admin on the database of `DATABASE_URL`, which it leaves as it is.

`python -m tests.page_times` prints the milliseconds and the number of queries of each page of the
table, the slowest first: for a superuser, and for an operator of one flow. `manage.py seed` fills a
database with enough for it. A name as argument measures the pages alone whose name holds it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass

import django

# A page is measured this often; the fastest counts, for the machine may be busy.
TIMES = 3
MOST_PAGE_MS, MOST_PART_MS = 300, 30


@dataclass(frozen=True)
class Measure:
    ms: float
    queries: int
    who: str
    label: str
    url: str
    status: int
    slowest: str


def main(arguments: list[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
    django.setup()
    from django.db import transaction
    from django.test import override_settings
    from django.test.utils import setup_test_environment

    setup_test_environment()
    with override_settings(STATIC_ROOT=tempfile.mkdtemp()), transaction.atomic():
        measures = [each for who in users().items() for each in measure(*who, arguments)]
        transaction.set_rollback(True)
    for each in sorted(measures, key=lambda each: -each.ms):
        print(
            f"{each.ms:8.1f} ms {each.queries:4} queries {each.who:10} {each.status}"
            f" {each.label:36} {each.url} {each.slowest}"
        )
    return 0


def users() -> dict[str, object]:
    """Make a superuser, and an operator of the flow that the pages are about."""
    from django.contrib.auth.models import User

    from flows.access.profiles import Profile, make_role
    from flows.models import Flow
    from tests.admin_pages import main_flow

    operator = User.objects.create_user("page-times-operator", is_staff=True)
    operator.groups.add(make_role(Profile.OPERATOR, Flow.objects.get(pk=main_flow()[0])))
    return {
        "superuser": User.objects.create_superuser("page-times"),
        "operator": operator,
    }


def measure(who: str, user: object, arguments: list[str]) -> list[Measure]:
    from django.test import Client

    from tests.admin_pages import PAGES, PARTS

    client = Client()
    client.force_login(user)
    measures = []
    for page in (*PAGES, *PARTS):
        if arguments and not any(each in page.label for each in arguments):
            continue
        try:
            url = page.url()
        except IndexError:
            print(f"no object for {page.label}")
            continue
        measures.append(measure_one(client, who, page.label, url))
    return measures


def measure_one(client: object, who: str, label: str, url: str) -> Measure:
    """Return the fastest of several requests, and the slowest of its queries."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    best = None
    for _ in range(TIMES):
        with CaptureQueriesContext(connection) as caught:
            began = time.perf_counter()
            status = client.get(url).status_code  # type: ignore[attr-defined]
            ms = (time.perf_counter() - began) * 1000
        slowest = max(caught.captured_queries, key=lambda each: float(each["time"]), default=None)
        text = (
            f"{slowest['time']} s: {slowest['sql'][:160]}" if slowest and ms > MOST_PART_MS else ""
        )
        found = Measure(ms, len(caught), who, label, url, status, text)
        best = min(filter(None, (best, found)), key=lambda each: each.ms)
    assert best is not None
    return best


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Measures every page of the admin on the database of `DATABASE_URL`, which it leaves as it is.

`python -m tests.page_times` prints the milliseconds and the number of queries of each page of the
table, the slowest first: for a superuser, and for an operator of one flow. It fails where a page or
a part is too slow. `manage.py seed` fills a database with enough for it; what a page shows and the
seed lacks is made for the measure. A name as argument measures the pages alone whose name holds it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import django

# A page is measured this often. The median counts; the fastest says how busy the machine was.
TIMES = 7
# In the names of what is made for the measure.
FURNISHED = 9_999
# A page asks for its live part so often: what is kept for less does not help it.
POLLING_SECONDS = 5.0
MOST_PAGE_MS, MOST_PART_MS = 300, 30


@dataclass(frozen=True)
class Measure:
    ms: float
    fastest: float
    queries: int
    who: str
    label: str
    url: str
    status: int
    slowest_query: str
    most_ms: float

    @property
    def is_slow(self) -> bool:
        return self.ms > self.most_ms


def main(arguments: list[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
    django.setup()
    from django.db import transaction
    from django.test import override_settings

    # Without what a test looks at: it would take a copy of the context of each template.
    settings = override_settings(STATIC_ROOT=tempfile.mkdtemp(), ALLOWED_HOSTS=["testserver"])
    with settings, transaction.atomic():
        furnish_what_lacks()
        measures = [each for who in users().items() for each in measure(*who, arguments)]
        transaction.set_rollback(True)
    for each in sorted(measures, key=lambda each: -each.ms):
        print(
            f"{each.ms:6.1f} ms, at best {each.fastest:6.1f} {each.queries:4} queries"
            f" {each.who:10} {each.status} {each.label:36} {each.url}"
            f" {f'TOO SLOW: {each.slowest_query}' if each.is_slow else ''}"
        )
    return any(each.is_slow for each in measures)


def furnish_what_lacks() -> None:
    """Make an object for each page that would have none, beside the flow with the newest run."""
    from django.contrib.auth.models import User

    from flows.models import DeadLetter
    from tests.admin_pages import main_flow
    from tests.furnished import furnish_beside

    letters = DeadLetter.objects.filter(step__flow_version__flow=main_flow()[0])
    user = User.objects.create_user("page-times-beside")
    furnish_beside(letters.order_by("-pk")[0], FURNISHED, user)


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
    pages = (page for page in (*PAGES, *PARTS) if not arguments or _is_named(page.label, arguments))
    return [measure_one(client, who, page.label, page.url(), page in PARTS) for page in pages]


def _is_named(label: str, arguments: list[str]) -> bool:
    return any(each in label for each in arguments)


def measure_one(client: Any, who: str, label: str, url: str, is_part: bool) -> Measure:
    """Return the median of several requests, and the queries of one before them."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from flows.monitoring import kept

    with CaptureQueriesContext(connection) as caught:
        status = client.get(url).status_code
    queries = caught.captured_queries
    times = []
    for _ in range(TIMES):
        kept.forget(POLLING_SECONDS)
        began = time.perf_counter()
        client.get(url)
        times.append((time.perf_counter() - began) * 1000)
    slowest = max(queries, key=lambda each: float(each["time"]), default=None)
    text = f"{slowest['time']} s: {slowest['sql'][:160]}" if slowest else ""
    # A part that is refused is a whole page.
    most = MOST_PART_MS if is_part and status == 200 else MOST_PAGE_MS
    return Measure(median(times), min(times), len(queries), who, label, url, status, text, most)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

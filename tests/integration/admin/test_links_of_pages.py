"""No page has a link to what its user may not see, or to what is not there."""

from __future__ import annotations

import re
from collections import Counter, deque
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from flows.models import Flow, RoleMapping, Run, Step
from tests.furnished import furnish

pytestmark = [pytest.mark.django_db, pytest.mark.long]

LINK = re.compile(r'<a\s[^>]*?href="([^"#]*)')
# What htmx loads: dialogs, panels, parts that refresh themselves.
PART = re.compile(r'\shx-get="([^"#]*)')
# What leads home with a message, and to the whole list.
LED_AWAY = re.compile(r"Perhaps it was deleted|is not filtered")
# The others differ by their query alone: pages and filters of the same list.
MOST_QUERIES = 3
MOST_PAGES = 500


def links_to_nowhere(user: User) -> dict[str, str]:
    """Return the links that lead nowhere, each with the page that has it."""
    client = Client()
    client.force_login(user)
    home = reverse("admin:index")
    left, wrong, queries = deque([(home, "")]), {}, Counter[str]()
    seen, parts = {home}, set[str]()
    while left and len(seen) < MOST_PAGES:
        url, origin = left.popleft()
        answer: Any = client.get(url, follow=True)
        said = (answer.context or {}).get("messages", ())
        if answer.status_code != 200 or any(LED_AWAY.search(str(each)) for each in said):
            wrong[url] = f"{answer.status_code} from {origin}"
        elif "html" in answer["Content-Type"]:
            page = answer.redirect_chain[-1][0] if answer.redirect_chain else url
            for part in PART.findall(answer.content.decode()):
                address = urljoin(page, unescape(part))
                if address in parts:
                    continue
                parts.add(address)
                status = client.get(address, headers={"HX-Request": "true"}).status_code
                if status != 200:
                    wrong[address] = f"{status}, a part of {page}"
            for href in LINK.findall(answer.content.decode()):
                found = urljoin(page, unescape(href))
                path = urlsplit(found).path
                if path.startswith(home) and found not in seen and queries[path] < MOST_QUERIES:
                    queries[path] += 1
                    seen.add(found)
                    left.append((found, page))
    return wrong


def main_flow() -> Flow:
    return Flow.objects.get(name="orders")


@pytest.mark.parametrize("gone", [None, "flow", "steps", "scripts"])
def test_no_link_leads_a_superuser_nowhere(gone: str | None) -> None:
    user = furnish(2)
    steps = list(main_flow().steps.select_related("script", "queue"))
    if gone == "flow":
        main_flow().delete()
    elif gone:
        for step in steps:
            step.delete()
    if gone == "scripts":
        for step in steps:
            Step.objects.filter(script=step.script).delete()
            step.script.delete()
            step.queue.name = f"former-{step.queue.name}"
            step.queue.save()

    assert links_to_nowhere(user) == {}


RIGHTS: dict[str, dict[str | None, list[str]]] = {
    "start": {"orders": ["start"]},
    "watch": {"orders": ["watch"]},
    "operate": {"orders": ["operate", "watch", "start"]},
    "configure": {"orders": ["configure"]},
    "configure another": {"orders": ["operate", "start"], "flow-0": ["configure"]},
    "watch every": {None: ["watch"]},
    "start every": {None: ["start"]},
    "operate every": {None: ["operate", "start"]},
    "configure every": {None: ["configure"]},
}


@pytest.mark.parametrize("rights", RIGHTS)
def test_no_link_leads_a_user_of_a_role_nowhere(rights: str) -> None:
    furnish(2)
    user = User.objects.create_user("clerk", is_staff=True)
    role = Group.objects.create(name="clerks")
    user.groups.add(role)
    for name, given in RIGHTS[rights].items():
        flow = Flow.objects.get(name=name) if name else None
        for right in given:
            RoleMapping.objects.create(role=role, right=right, flow=flow)
    Run.objects.update(started_by=user)

    assert links_to_nowhere(user) == {}

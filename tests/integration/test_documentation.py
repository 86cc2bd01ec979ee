"""The documentation that is served: its pages, the ways between them, and the search."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urljoin

import pytest
from django.test import Client
from django.urls import clear_script_prefix, set_script_prefix

from flows.documentation import pages
from flows.documentation.pages import PAGES, is_there
from flows.documentation.rendering import render
from flows.front.documentation import public_documentation

FIRST = "/async/docs/"


def address(name: str) -> str:
    return f"{FIRST}{name}/" if name else FIRST


def body(url: str, client: Client | None = None) -> str:
    answer = (client or Client()).get(url)
    assert answer.status_code == 200, url
    return answer.content.decode()


def links(html: str) -> list[str]:
    return [unescape(link) for link in re.findall(r'href="([^"]*)"', html)]


@pytest.fixture(scope="module")
def served() -> dict[str, str]:
    """The pages by their addresses, as a caller without a login sees them."""
    return {address(name): body(address(name)) for name in PAGES if is_there(name)}


def test_every_page_is_served_and_each_link_leads_to_a_page_and_to_a_heading_of_it(served):
    anchors = {url: set(re.findall(r' id="([^"]+)"', html)) for url, html in served.items()}
    lost = []
    for url, html in served.items():
        for link in links(html):
            target, _, anchor = urljoin(url, link).partition("#")
            if not target.startswith(FIRST) or target == f"{FIRST}search/":
                continue
            if target not in served or (anchor and anchor not in anchors[target]):
                lost.append((url, link))

    assert len(served) == len(PAGES)
    assert lost == []


def test_no_page_needs_another_host_and_none_shows_a_broken_file(served):
    for url, html in served.items():
        assert not re.findall(r'(?:src|<link[^>]*href)="(?:https?:)?//', html), url
        assert not [link for link in links(html) if link.endswith((".md", ".py", ".json"))], url


def test_a_link_to_what_is_not_served_is_its_text_and_an_unknown_language_is_text():
    page = render(
        "# T\n\n[the file](demo.json), [*all*](../README.md#a-b)\n\n## A `b` & c\n\n"
        "| | |\n|---|---|\n| 1 | 2 |\n\n```none-such\n<x>\n```\n\n```python\nx = 1\n```\n",
        "a/b",
        {"a/README.md": "../"}.get,
    )

    assert '<p>the file, <a href="../#a-b"><em>all</em></a></p>' in page.html
    assert '<h2 id="a-b--c">' in page.html
    assert "<thead>" not in page.html
    assert "&lt;x&gt;" in page.html
    assert '<span class="mi">1</span>' in page.html
    assert [(each.level, each.title) for each in page.sections] == [(1, "T"), (2, "A b & c")]


def test_a_cell_has_the_title_of_its_column_for_a_phone_which_shows_no_head():
    page = render(
        "| name | `unit` | |\n|---|---|---|\n| a | s | x |\n\n| | |\n|---|---|\n| 1 | 2 |\n",
        "",
        {}.get,
    )

    assert re.findall("<td.*?</td>", page.html) == [
        "<td>a</td>",
        '<td data-label="unit">s</td>',
        "<td>x</td>",
        "<td>1</td>",
        "<td>2</td>",
    ]


def test_search_finds_the_sections_with_all_words_and_those_by_their_title_first():
    html = body(f"{FIRST}search/?q=identity+provider").partition('class="found"')[2]
    found = re.findall(r'<li>\s*<a href="([^"]+)">([^<]+)</a>', html)

    assert found[0] == ("../asyncengine/#identity-provider", "Identity provider")
    assert len(found) > 1
    assert "No section has" in body(f"{FIRST}search/?q=<b>nothing</b>")
    assert "<b>" not in body(f"{FIRST}search/?q=<b>nothing</b>")
    assert "Write one word" in body(f"{FIRST}search/")


def test_below_a_sub_path_the_pages_lead_to_each_other():
    set_script_prefix("/tools/")
    try:
        inside = [link for link in links(body(f"{FIRST}flows/api/")) if "/static/" not in link]
    finally:
        clear_script_prefix()

    absolute = {link for link in inside if link.startswith("/")}
    assert absolute == {"/tools/admin/", "/tools/async/specifications/swagger-ui/index.html"}
    assert "../testing/" in inside


@pytest.mark.parametrize(
    ("path", "status"),
    [("none/", 404), ("../settings.py/", 404), ("flows/../flows/", 404), ("flows", 301)],
)
def test_an_address_without_a_page_is_told(path, status):
    answer = Client().get(f"{FIRST}{path}")

    assert answer.status_code == status
    # A page, not the JSON of the API, which a browser stores as a file.
    assert ("<h1>There is no such page</h1>" in answer.content.decode()) == (status == 404)
    assert answer["Content-Type"].startswith("text/html")


def test_addresses_that_callers_make_up_are_not_remembered():
    assert not any(is_there(f"none-{number}") for number in range(9))

    assert pages._has_text.cache_info().currsize <= len(PAGES)


def test_the_pages_are_read_and_not_written():
    assert Client().post(FIRST).status_code == 405


@pytest.mark.django_db
def test_the_document_of_the_api_and_the_menu_of_the_pages_lead_to_it(admin_client, settings):
    document = admin_client.get("/async/specifications/openapi.json").json()

    assert document["externalDocs"]["url"] == FIRST
    assert f'href="{FIRST}"' in body("/admin/", admin_client)
    settings.ASYNCENGINE_URL = "https://engine.example.org/tools"
    assert public_documentation() == "https://engine.example.org/tools/async/docs/"

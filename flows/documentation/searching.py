"""Finds the sections of the documentation that have all words of a text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from flows.documentation.pages import PAGES, Page, is_there, rendered
from flows.documentation.rendering import Section

LONGEST_QUERY = 200
MOST_FOUND = 30
# Characters before and behind the first word that is found.
BEFORE, AROUND = 60, 220


@dataclass(frozen=True, slots=True)
class Found:
    page: Page
    section: Section
    excerpt: str


@dataclass(frozen=True, slots=True)
class Indexed:
    page: Page
    section: Section
    title: str
    text: str


def search(query: str) -> list[Found]:
    """Return sections, those with the words in their title first, in the order of the menu."""
    words = re.findall(r"\S+", query[:LONGEST_QUERY].lower())
    if not words:
        return []
    found = [each for each in _index() if all(w in each.title or w in each.text for w in words)]
    found.sort(key=lambda each: -sum(word in each.title for word in words))
    return [Found(e.page, e.section, _excerpt(e.section.text, words)) for e in found[:MOST_FOUND]]


@cache
def _index() -> tuple[Indexed, ...]:
    return tuple(_sections())


def _sections() -> Iterator[Indexed]:
    for page in PAGES.values():
        if is_there(page.name):
            for each in rendered(page.name).sections:
                title = f"{each.title} {page.title if each.level == 1 else ''}".lower()
                yield Indexed(page, each, title, each.text.lower())


def _excerpt(text: str, words: list[str]) -> str:
    places = [at for word in words if (at := text.lower().find(word)) >= 0]
    begin = max(min(places, default=0) - BEFORE, 0)
    end = begin + AROUND
    return f"{'… ' * (begin > 0)}{text[begin:end].strip()}{' …' * (end < len(text))}"

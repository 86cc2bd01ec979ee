"""The pages of the documentation: the READMEs of the rooms, and the references that code makes."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from flows.documentation import rendering
from flows.documentation.reference import alarms, commands, context, metrics, problems, settings
from flows.documentation.rendering import Rendered

ROOT = Path(__file__).resolve().parents[2]
FIRST = "README.md"


@dataclass(frozen=True, slots=True)
class Page:
    """`name`: the end of its address, "" for the first. `source`: a file from the root."""

    name: str
    title: str
    source: str
    make: Callable[[], str] | None = None

    def text(self) -> str | None:
        """Return the Markdown, None where an installation has no such file."""
        if self.make is not None:
            return self.make()
        path = ROOT / self.source
        if path.exists():
            return path.read_text(encoding="utf-8")
        return _description() if self.source == FIRST else None


def _description() -> str | None:
    """Return the first README, which a wheel has as its description."""
    try:
        return str(metadata("asyncengine").get_payload())  # type: ignore[attr-defined]
    except PackageNotFoundError:
        return None


def _readme(folder: str, title: str) -> Page:
    return Page(folder, title, f"{folder}/README.md".removeprefix("/"))


def _reference(name: str, title: str, make: Callable[[], str]) -> Page:
    return Page(f"reference/{name}", title, f"reference/{name}/README.md", make)


# In the order of the menu.
GROUPS: dict[str, tuple[Page, ...]] = {
    "Tutorial": (_readme("", "Async Engine"), _readme("flows/demo", "Your first flow")),
    "How-to guides": (
        _readme("flows/documentation", "Short guides"),
        _readme("scripts/examples", "Examples of scripts"),
        _readme("scripts/trials", "Try a script"),
        _readme("flows/testing", "Test flows"),
        _readme("asyncengine/deploy", "Deploy"),
        _readme("asyncengine/deploy/monitoring", "Monitor"),
        _readme("flows/pipes", "Start flows from Apache Camel"),
        _readme("asyncengine/client", "The client for callers"),
    ),
    "Reference": (
        _readme("scripts", "Writing scripts"),
        _readme("scripts/host/languages", "Languages and modules"),
        _readme("scripts/host", "The script host, limits"),
        _readme("scripts/protocol", "Waiting, and the state of a flow"),
        _readme("scripts/services", "Outside calls, signatures"),
        _readme("scripts/tables", "Tables"),
        _readme("scripts/callables", "Callables"),
        _readme("scripts/typings", "Types for scripts"),
        _readme("flows/api", "Calling the API"),
        _readme("asyncengine", "Operating"),
        _reference("settings", "Settings", settings.text),
        _reference("commands", "Commands", commands.text),
        _reference("context", "Context of scripts", context.text),
        _reference("problems", "Problem types", problems.text),
        _reference("metrics", "Metrics", metrics.text),
        _reference("alarms", "Alarms", alarms.text),
    ),
    "Explanation": (
        _readme("flows/worker", "How the engine works"),
        _readme("flows", "In a Django project; architecture"),
        _readme("flows/access", "Security"),
    ),
}
PAGES = {page.name: page for pages in GROUPS.values() for page in pages}
BY_SOURCE = {page.source: page for page in PAGES.values()}


def is_there(name: str) -> bool:
    # Callers name what they like: of that nothing is remembered.
    return name in PAGES and _has_text(name)


@cache
def _has_text(name: str) -> bool:
    page = PAGES[name]
    return page.make is not None or page.text() is not None


@cache
def rendered(name: str) -> Rendered:
    """Return a page that is there. A process makes it once."""
    page = PAGES[name]
    folder = posixpath.dirname(page.source)
    return rendering.render(page.text() or "", folder, lambda path: _address(name, path))


def _address(name: str, path: str) -> str | None:
    """Return the way from a page to the one that is made of a file, None where there is none."""
    found = BY_SOURCE.get(path)
    return way(name, found.name) if found and is_there(found.name) else None


def way(start: str, end: str) -> str:
    """Return the relative address from one page to another, the same below every prefix."""
    return posixpath.relpath(f"/{end}", f"/{start}") + "/"


def ways(start: str) -> list[tuple[str, list[tuple[Page, str]]]]:
    """Return the groups of the menu; each page with the way to it."""
    return [
        (title, [(page, way(start, page.name)) for page in pages if is_there(page.name)])
        for title, pages in GROUPS.items()
    ]

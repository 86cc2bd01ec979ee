"""Asks axe-core, which a package brings along, about the page that a browser shows."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

OPTIONS = {
    "resultTypes": ["violations"],
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    },
}
SERIOUS = {"serious", "critical"}


@cache
def source() -> str:
    import axe_playwright_python

    directory = Path(axe_playwright_python.__file__).parent
    return (directory / "axe.min.js").read_text(encoding="utf-8")


def serious_violations(page: Any) -> list[str]:
    """Return what is serious or critical: the rule, the element, and what is wrong with it."""
    if not page.evaluate("'axe' in globalThis"):
        page.evaluate(source())
    found = page.evaluate("options => axe.run(document, options)", OPTIONS)["violations"]
    return [
        f"{violation['id']}: {' '.join(map(str, node['target']))}\n"
        f"{node['html'][:200]}\n{node['failureSummary']}"
        for violation in found
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]


def dangling_descriptions(page: Any) -> list[str]:
    """Return the fields whose description is not on the page, so that it is not read out."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("[aria-describedby]")].flatMap((field) =>
            field.getAttribute("aria-describedby").split(" ")
                .filter((id) => document.getElementById(id) === null)
                .map((id) => `${field.id || field.name} is described by ${id}`))"""
    )
    return found

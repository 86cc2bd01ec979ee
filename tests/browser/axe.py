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
# What colours make of a page: axe's other rules look at its elements, and at where they are.
OF_COLOURS = OPTIONS | {
    "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
}
# A page that has the elements of a look that was examined before, each as visible and in the same
# place, differs from it by colours alone.
EXAMINE = """([options, ofColours]) => {
    const places = [...document.body.querySelectorAll("*")].map((element) => {
        const { x, y, width, height } = element.getBoundingClientRect();
        const properties = { opacityProperty: true, visibilityProperty: true };
        return [element.checkVisibility(properties), x, y, width, height];
    });
    const shape = JSON.stringify([document.body.outerHTML, places]);
    const examined = globalThis.examinedShapes ??= new Set();
    const isKnown = examined.has(shape);
    examined.add(shape);
    return axe.run(document, isKnown ? ofColours : options);
}"""
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
    found = page.evaluate(EXAMINE, [OPTIONS, OF_COLOURS])["violations"]
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

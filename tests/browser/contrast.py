"""How much text and the borders of fields stand out from the ground, as WCAG 2.2 measures it."""

from __future__ import annotations

from typing import Any

FUNCTIONS = """
    const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const over = (color, ground) => {
        pen.globalCompositeOperation = "source-over";
        for (const each of [ground, color]) {
            pen.fillStyle = each;
            pen.fillRect(0, 0, 1, 1);
        }
        const [red, green, blue] = pen.getImageData(0, 0, 1, 1).data;
        return `rgb(${red}, ${green}, ${blue})`;
    };
    const light = (color) => {
        const parts = color.match(/\\d+/g).map((part) => part / 255)
            .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const groundOf = (element) => {
        const behind = [];
        for (let each = element; each; each = each.parentElement) {
            behind.unshift(getComputedStyle(each).backgroundColor);
        }
        return behind.reduce((below, color) => over(color, below), "#fff");
    };
    const contrast = (color, ground) => {
        const both = [light(over(color, ground)), light(over(ground, "#fff"))];
        return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    };
"""
OF_TEXT = f"""(selector) => {{
    {FUNCTIONS}
    const found = document.querySelector(selector);
    return contrast(getComputedStyle(found).color, groundOf(found));
}}"""
PALE_FIELDS = f"""() => {{
    {FUNCTIONS}
    const fields = "input:not([type=submit], [type=checkbox], [type=radio]), select, textarea,"
        + " .select2-container, .editor";
    const isPale = (field) => {{
        const style = getComputedStyle(field);
        const around = groundOf(field.parentElement);
        return Number.parseFloat(style.borderTopWidth) > 0 && field.checkVisibility()
            && field.getBoundingClientRect().width > 1 && style.borderTopStyle !== "none"
            && !field.matches(":disabled")
            && contrast(style.borderTopColor, around) < 3;
    }};
    return [...document.querySelectorAll(fields)].filter(isPale)
        .map((field) => `pale: ${{field.outerHTML.slice(0, 200)}}`);
}}"""


def contrast(page: Any, selector: str) -> float:
    """Return the contrast of the text of the first element that the selector finds."""
    page.locator(selector).first.wait_for(state="attached")
    return float(page.evaluate(OF_TEXT, selector))


def pale_fields(page: Any) -> list[str]:
    """Return the fields whose border does not stand out: WCAG asks for 3:1."""
    found: list[str] = page.evaluate(PALE_FIELDS)
    return found

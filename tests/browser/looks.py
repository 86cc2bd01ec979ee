"""How a page may look: light or dark, on a desktop or on a phone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.browser.conftest import DESKTOP, PHONE


@dataclass(frozen=True)
class Look:
    scheme: str
    is_phone: bool = False


LIGHT = Look("light")
LOOKS = [LIGHT, Look("dark"), Look("light", is_phone=True), Look("dark", is_phone=True)]

# The theme of a page is that of the system, which it looks up when the choice of the user changes.
# What moves or fades is at its end at once, unless it goes on for ever.
TURN = """async () => {
    const root = globalThis.Alpine && document.documentElement;
    if (root) {
        Alpine.$data(root).adminTheme = "light";
        await Alpine.nextTick();
        Alpine.$data(root).adminTheme = "auto";
        await Alpine.nextTick();
    }
    await new Promise(requestAnimationFrame);
    for (const animation of document.getAnimations()) {
        if (animation.effect.getComputedTiming().endTime !== Infinity) animation.finish();
    }
    const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
    return !root || root.classList.contains("dark") === isDark;
}"""


def look_like(page: Any, look: Look) -> None:
    """Turn an open page to another look, without loading it anew."""
    page.emulate_media(color_scheme=look.scheme)
    page.set_viewport_size(PHONE if look.is_phone else DESKTOP)
    assert page.evaluate(TURN)

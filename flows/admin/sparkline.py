"""Small curves as SVG: what was started, completed and failed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from django.utils.safestring import SafeString, mark_safe

# In tenths of a pixel, so that all numbers are whole ones.
WIDTH = 2400
HEIGHT = 400
# Room for the line itself.
MARGIN = 20
# The least height of a bar.
LEAST = 40


def sparkline(
    started: Sequence[int], completed: Sequence[int], failed: Sequence[int]
) -> SafeString:
    """Return a chart of numbers alone: nothing in it comes from a user. All have one scale."""
    highest = max((*started, *completed, *failed), default=0)
    if not highest:
        flat = HEIGHT - MARGIN
        return _svg(f'<path class="spark-none" d="M0 {flat}H{WIDTH}"/>')
    done = _line(completed, highest)
    parts = [
        f'<path class="spark-area" d="{done}V{HEIGHT}H0Z"/>',
        f'<path class="spark-started" d="{_line(started, highest)}"/>' if started else "",
        f'<path class="spark-completed" d="{done}"/>',
    ]
    if any(failed):
        parts.append(f'<path class="spark-failed" d="{_bars(failed, highest)}"/>')
    return _svg("".join(parts))


def failures(numbers: Sequence[int]) -> SafeString:
    """Return a chart of bars of what failed."""
    highest = max(numbers, default=0)
    if not highest:
        return sparkline((), (), ())
    return _svg(f'<path class="spark-failed" d="{_bars(numbers, highest)}"/>')


def _svg(content: str) -> SafeString:
    return mark_safe(  # noqa: S308  numbers alone
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none"'
        f' aria-hidden="true" focusable="false">{content}</svg>'
    )


def _line(numbers: Sequence[int], highest: int) -> str:
    scale = (HEIGHT - 2 * MARGIN) / highest
    ground = HEIGHT - MARGIN
    points = [
        f"{x} {ground - int(n * scale)}" for x, n in zip(_xs(len(numbers)), numbers, strict=True)
    ]
    return "M" + "L".join(points)


def _bars(numbers: Sequence[int], highest: int) -> str:
    """Return a bar for each number that is not 0, high enough to be seen."""
    scale = (HEIGHT - 2 * MARGIN) / highest
    return "".join(
        f"M{x} {HEIGHT}v-{max(int(n * scale), LEAST)}"
        for x, n in zip(_xs(len(numbers)), numbers, strict=True)
        if n
    )


@cache
def _xs(count: int) -> list[int]:
    step = WIDTH / max(count - 1, 1)
    return [int(at * step) for at in range(count)]

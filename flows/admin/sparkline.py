"""Small curves as SVG: what was started, completed and failed."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.safestring import SafeString, mark_safe

WIDTH = 240
HEIGHT = 40
# Room for the line itself.
MARGIN = 2


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
        f'<path class="spark-started" d="{_line(started, highest)}"/>',
        f'<path class="spark-completed" d="{done}"/>',
    ]
    if any(failed):
        parts.append(f'<path class="spark-failed" d="{_bars(failed, highest)}"/>')
    return _svg("".join(parts))


def _svg(content: str) -> SafeString:
    return mark_safe(  # noqa: S308  numbers alone
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none"'
        f' aria-hidden="true" focusable="false">{content}</svg>'
    )


def _line(numbers: Sequence[int], highest: int) -> str:
    step = WIDTH / max(len(numbers) - 1, 1)
    points = (f"{at * step:.1f} {_y(n, highest):.1f}" for at, n in enumerate(numbers))
    return "M" + "L".join(points)


def _bars(numbers: Sequence[int], highest: int) -> str:
    """Return a bar for each number that is not 0, at least two units high to be seen."""
    step = WIDTH / max(len(numbers) - 1, 1)
    tops = ((at * step, min(_y(n, highest), HEIGHT - 4)) for at, n in enumerate(numbers) if n)
    return "".join(f"M{x:.1f} {HEIGHT}V{y:.1f}" for x, y in tops)


def _y(number: int, highest: int) -> float:
    return HEIGHT - MARGIN - number / highest * (HEIGHT - 2 * MARGIN)

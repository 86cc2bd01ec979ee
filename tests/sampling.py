"""Tests with many cases: the default run takes a sample of them, and `.ci/run` the others."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

# How a module says that it has tests for the long runs.
LONG = re.compile(r"mark\.(long|sampled)\b")


def leave_to_long_runs(items: list[pytest.Item]) -> None:
    """Mark as `long` what the default run leaves out of tests that are `sampled(n)`.

    It takes every n-th case, the first one included: the sample is the same each time.
    """
    cases: Counter[str] = Counter()
    for item in items:
        marker = item.get_closest_marker("sampled")
        if marker is None:
            continue
        test = item.nodeid.partition("[")[0]
        if cases[test] % marker.args[0]:
            item.add_marker(pytest.mark.long)
        cases[test] += 1


def has_long_tests(module: Path) -> bool:
    """Whether it may have any, by its text: to import and collect all modules takes long."""
    return LONG.search(module.read_text()) is not None


def require_that_long_tests_are_found(items: list[pytest.Item]) -> None:
    """Refuse a module whose long tests the long runs would leave out, for its text hides them."""
    modules = {item.path for item in items if item.get_closest_marker("long")}
    hidden = sorted(module.name for module in modules if not has_long_tests(module))
    if hidden:
        raise pytest.UsageError(f"not to be seen by {LONG.pattern!r}: the long tests of {hidden}")

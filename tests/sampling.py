"""Tests with many cases: the default run takes a sample of them, and `.ci/run` the others."""

from __future__ import annotations

from collections import Counter

import pytest


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

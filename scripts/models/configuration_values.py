"""The values of this installation that scripts read, kept for some seconds."""

from __future__ import annotations

import time
from typing import Any

from scripts.models.configuration_value import ConfigurationValue

# The time after which a changed value reaches running workers.
KEPT_SECONDS = 5.0
# Where one is missing: it may just have been entered.
KEPT_SECONDS_OF_MISSING = 0.2

_kept: list[tuple[float, dict[str, str]]] = []


def configuration_values(seconds: float | None = None) -> dict[str, str]:
    """Return all values by name, which may be of this age, `KEPT_SECONDS` where none is given."""
    age = KEPT_SECONDS if seconds is None else seconds
    if not _kept or time.monotonic() - _kept[0][0] > age:
        values = dict(ConfigurationValue.objects.values_list("name", "value"))
        _kept[:] = [(time.monotonic(), values)]
    return _kept[0][1]


def age_for(request: dict[str, Any]) -> float:
    """Return how old the values of a request may be: `isNewest` is set where one was missing."""
    return KEPT_SECONDS_OF_MISSING if request.get("isNewest") else KEPT_SECONDS


def forget_configuration_values() -> None:
    """Drop what is kept in memory; for tests."""
    _kept.clear()

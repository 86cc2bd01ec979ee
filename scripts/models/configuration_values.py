"""The values of this installation that scripts read, kept for some seconds."""

from __future__ import annotations

import time

from scripts.models.configuration_value import ConfigurationValue

# The time after which a changed value reaches running workers.
KEPT_SECONDS = 5.0

_kept: list[tuple[float, dict[str, str]]] = []


def configuration_values() -> dict[str, str]:
    """Return all values by name, which may be some seconds old."""
    if not _kept or time.monotonic() - _kept[0][0] > KEPT_SECONDS:
        values = dict(ConfigurationValue.objects.values_list("name", "value"))
        _kept[:] = [(time.monotonic(), values)]
    return _kept[0][1]


def forget_configuration_values() -> None:
    """Drop what is kept in memory; for tests."""
    _kept.clear()

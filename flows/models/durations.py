"""Durations of the configuration."""

from __future__ import annotations

from datetime import timedelta

from django.db import models

# The longest time in which starts are counted.
LONGEST_RATE_PERIOD = timedelta(days=1)


def not_longer_than_zero(model: models.Model, *durations: str) -> dict[str, str]:
    """Return the errors of the durations by name."""
    return {
        name: "Must be longer than zero."
        for name in durations
        if (value := getattr(model, name)) is not None and value <= timedelta(0)
    }


def is_rate_period(period: timedelta | None) -> bool:
    """Tell whether a start rate may count in this time; headers name it in whole seconds."""
    if period is None:
        return True
    is_whole = period % timedelta(seconds=1) == timedelta(0)
    return is_whole and timedelta(0) < period <= LONGEST_RATE_PERIOD

"""Durations of the configuration."""

from __future__ import annotations

from datetime import timedelta

from django.db import models


def not_longer_than_zero(model: models.Model, *durations: str) -> dict[str, str]:
    """Return the errors of the durations by name."""
    return {
        name: "Must be longer than zero."
        for name in durations
        if (value := getattr(model, name)) is not None and value <= timedelta(0)
    }

"""The author of a change of the configuration, as far as known."""

from __future__ import annotations

from typing import Any

from django.db import models
from simple_history.models import HistoricalRecords


def author_of_change(row: models.Model) -> Any:
    """Return the user of the history for a change of the row; None where no user is known."""
    user = getattr(row, "_history_user", None)
    if user is None:
        request = getattr(HistoricalRecords.context, "request", None)
        user = getattr(request, "user", None)
    return user if user is not None and user.is_authenticated else None

from __future__ import annotations

from django.db import models


class RecentStarts(models.Model):
    """The recent starts of a user, or of a flow, that a start rate counts.

    `flows/starts/rates.py` writes them, in the transaction of the starts.
    """

    key = models.CharField(
        primary_key=True, max_length=100, help_text="user or flow, and the primary key of it."
    )
    starts = models.TextField(
        default="", db_default="", help_text="When, as flows/store/rate_limit.py writes it."
    )

    def __str__(self) -> str:
        return self.key

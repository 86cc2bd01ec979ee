from __future__ import annotations

from django.db import models


class TokenUse(models.Model):
    """When a bearer token was used last, by its key: beside it, as its name is."""

    token = models.CharField(max_length=128, primary_key=True)
    used_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.used_at:%Y-%m-%d %H:%M}"

"""The names of bearer tokens, beside the model of their library, which has none."""

from __future__ import annotations

from django.db import models


class TokenName(models.Model):
    """What a token is called, by its key. A token may have no name."""

    token = models.CharField(max_length=128, primary_key=True)
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name

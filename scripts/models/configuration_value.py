from __future__ import annotations

from typing import Any

from django.core.validators import RegexValidator
from django.db import models, transaction
from simple_history.models import HistoricalRecords


class ConfigurationValue(models.Model):
    """A text of this installation that scripts read by its name. It is no secret."""

    name = models.CharField(
        max_length=100,
        unique=True,
        validators=[
            RegexValidator(r"^[a-z_][a-z0-9_.-]*\Z", "Small letters, digits, and _ . - inside.")
        ],
        help_text="What scripts ask for; it cannot be changed later.",
    )
    value = models.TextField(
        blank=True,
        max_length=10_000,
        help_text="Every script can read it, so it must be no password and no key.",
    )
    description = models.TextField(blank=True, help_text="What it is for.")
    created_at = models.DateTimeField(auto_now_add=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]
        verbose_name = "value"

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save it together with what is recorded about the change."""
        super().save(*args, **kwargs)

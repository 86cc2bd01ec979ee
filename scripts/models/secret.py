from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.validators import RegexValidator
from django.db import models, transaction
from simple_history.models import HistoricalRecords

from scripts.models.encrypted_text import EncryptedText

if TYPE_CHECKING:
    from scripts.models.script import Script


class Secret(EncryptedText):
    """A text that scripts may read by its name. It is stored encrypted and never shown again."""

    name = models.CharField(
        max_length=100,
        unique=True,
        validators=[
            RegexValidator(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", "Letters, digits, and _ . - inside.")
        ],
        help_text="What scripts ask for; it cannot be changed later.",
    )
    description = models.TextField(
        blank=True, help_text="What it opens, and where a new value comes from."
    )
    is_readable = models.BooleanField(
        "readable by scripts",
        default=True,
        db_default=True,
        help_text="Otherwise it is for signatures and certificates alone: it enters no script.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField("value changed", editable=False)
    history = HistoricalRecords(excluded_fields=["encrypted"])

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save it together with what is recorded about the change."""
        super().save(*args, **kwargs)

    def scripts(self) -> list[Script]:
        """Return the scripts that may read it. Databases differ in how they look into JSON."""
        from scripts.models.script import Script

        return [script for script in Script.objects.all() if self.name in script.secrets]

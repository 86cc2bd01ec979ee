from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils import timezone

from scripts.models.encryption import decrypt, encrypt


class EncryptedText(models.Model):
    """Base of models with a text that is stored encrypted and never shown again.

    They have `changed_at`, when it was set last, by a name of their own.
    """

    encrypted = models.TextField(editable=False)
    changed_at: models.Field[datetime, datetime]

    class Meta:
        abstract = True

    def set_value(self, value: str) -> None:
        self.encrypted = encrypt(value)
        self.changed_at = timezone.now()

    def value(self) -> str:
        """Raises NotDecryptable where none of the keys fits."""
        return decrypt(self.encrypted)

from __future__ import annotations

from django.conf import settings
from django.db import models


class TrialRecord(models.Model):
    """A trial of code that may read secrets or call other hosts: its user, and what it did."""

    created_at = models.DateTimeField("tried at", auto_now_add=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    # Kept when the user or the script is gone.
    user_name = models.CharField("user", max_length=150)
    script = models.ForeignKey(
        "scripts.Script", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    script_name = models.CharField("script", max_length=100)
    code_digest = models.CharField(
        max_length=64, help_text="SHA-256 of the code and of its libraries' code."
    )
    secrets = models.JSONField("secrets it might read", default=list)
    hosts = models.JSONField("hosts it might call", default=list)
    private_addresses = models.BooleanField(default=False)
    secrets_read = models.JSONField("secrets it read", default=list)
    hosts_called = models.JSONField("hosts it called", default=list)

    class Meta:
        ordering = ["-id"]
        verbose_name = "trial"

    def __str__(self) -> str:
        return f"{self.script_name} by {self.user_name}"

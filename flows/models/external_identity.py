from __future__ import annotations

import hashlib

from django.conf import settings
from django.db import models


class ExternalIdentity(models.Model):
    """A user as an OpenID Connect issuer knows it: by issuer and subject, never by a name.

    `roles` and `is_staff_given` are what the issuer's tokens gave the user, and may take again;
    what was given here stays.
    """

    # A digest: an index of issuers and subjects would be long.
    key = models.CharField(max_length=64, primary_key=True)
    issuer = models.TextField()
    subject = models.CharField(max_length=255)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="external_identities"
    )
    roles = models.JSONField(default=list, help_text="The ids of the roles that tokens gave.")
    is_staff_given = models.BooleanField(default=False)
    # Of the newest token. An older one changes nothing.
    issued_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.subject} of {self.issuer}"

    @staticmethod
    def key_of(issuer: str, subject: str) -> str:
        return hashlib.sha256(f"{issuer}\0{subject}".encode()).hexdigest()

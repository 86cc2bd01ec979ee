from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Q


class CachedValueQuerySet(models.QuerySet["CachedValue"]):
    def current(self, now: datetime) -> CachedValueQuerySet:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now))

    def expired(self, now: datetime) -> CachedValueQuerySet:
        return self.filter(expires_at__lte=now)


class CachedValue(models.Model):
    """A value that processes share: of django-q2 a cached result or the state of a cluster, of the
    admin a form that was sent.
    """

    key = models.CharField(max_length=255, primary_key=True)
    value = models.JSONField()
    # The purge deletes expired rows. None: never expires.
    expires_at = models.DateTimeField(null=True, db_index=True)

    objects = CachedValueQuerySet.as_manager()

    def __str__(self) -> str:
        return self.key

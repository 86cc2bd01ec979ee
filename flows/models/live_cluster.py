"""The clusters that can take messages, as each says every few seconds."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models

# One that has said nothing for so long does not count.
COUNTS = timedelta(seconds=15)
# How long the row of a cluster that has ended is kept.
KEPT = timedelta(hours=1)


class LiveClusterQuerySet(models.QuerySet["LiveCluster"]):
    def alive(self, now: datetime) -> LiveClusterQuerySet:
        return self.filter(seen_at__gt=now - COUNTS)

    def forgotten(self, now: datetime) -> LiveClusterQuerySet:
        return self.filter(seen_at__lte=now - KEPT)


class LiveCluster(models.Model):
    """A cluster with workers for flows; `takes_unbound`: queues without a cluster as well."""

    # As its consumers name it.
    key = models.CharField(max_length=300, primary_key=True)
    name = models.CharField(max_length=100)
    takes_unbound = models.BooleanField()
    workers = models.PositiveIntegerField(
        default=1, db_default=1, help_text="Of flows; 0 where its machine may run no scripts."
    )
    seen_at = models.DateTimeField()

    objects = LiveClusterQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    def tell(self) -> None:
        """Store that it is alive; forget those that ended long ago."""
        LiveCluster.objects.bulk_create(
            [self],
            update_conflicts=True,
            unique_fields=["key"],
            update_fields=["name", "takes_unbound", "workers", "seen_at"],
        )
        LiveCluster.objects.forgotten(self.seen_at).delete()

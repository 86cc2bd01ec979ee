from __future__ import annotations

from django.db import models

from flows.models.queue import Queue

LONGEST_CLUSTER = 64


class Consumer(models.Model):
    """A worker's session on a queue: the lease on the messages that point at it.

    Its id is the fencing token: each commit of the session names it. Without its row, a session has
    lost its lease and commits nothing.
    """

    queue = models.ForeignKey(Queue, on_delete=models.PROTECT, related_name="consumers")
    threads = models.PositiveIntegerField()
    cluster = models.CharField(max_length=LONGEST_CLUSTER)
    # The column has the name that it had first.
    machine = models.CharField(max_length=255, db_column="host")
    pid = models.PositiveIntegerField(null=True, help_text="Of the worker, once it has begun.")
    created_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    cancel_requested = models.BooleanField(
        default=False, help_text="The run of a message that it holds was cancelled."
    )
    leaves = models.BooleanField(
        default=False,
        db_default=False,
        help_text="It takes nothing new and ends, for another cluster has too few threads here.",
    )

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.queue} at {self.machine}/{self.pid or '-'}"

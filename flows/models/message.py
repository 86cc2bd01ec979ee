from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.db import models
from django.db.models import Q

from flows.models.consumer import Consumer
from flows.models.payload_text import OptionalText, PayloadText
from flows.models.queue import Queue
from flows.models.run import Run
from flows.models.version import StepVersion

# As in JMS: 0 is the lowest, 9 the highest.
DEFAULT_PRIORITY = 4
HIGHEST_PRIORITY = 9


class MessageQuerySet(models.QuerySet["Message"]):
    def of_run(self, run_id: UUID) -> MessageQuerySet:
        """Return the messages of a run: one under the run's own id, or one for each branch."""
        return self.of_runs([run_id])

    def of_runs(self, run_ids: Collection[UUID]) -> MessageQuerySet:
        """Return the messages of runs. Both conditions have an index."""
        branches = Q(run__in=run_ids, branch__gt="")
        return self.filter(Q(pk__in=run_ids) | branches).order_by()


class Message(models.Model):
    """A message with its envelope: it waits in a queue, or a consumer holds it.

    Its id is the correlation id of its run, so a run finds its message without another index.
    Branches have ids of their own.
    The database does not check its references: three checks per step cost a third of the
    throughput, and the rows that they point at are never deleted while they have messages.
    """

    id = models.UUIDField(primary_key=True)
    run = models.ForeignKey(
        Run,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="messages",
    )
    step = models.ForeignKey(
        StepVersion,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    queue = models.ForeignKey(
        Queue,
        null=True,
        on_delete=models.PROTECT,
        db_constraint=False,
        db_index=False,
        related_name="messages",
        help_text="Where it waits; empty while a consumer holds it.",
    )
    consumer = models.ForeignKey(
        Consumer,
        null=True,
        on_delete=models.PROTECT,
        db_constraint=False,
        db_index=False,
        related_name="messages",
        help_text="The session that holds it.",
    )
    body = PayloadText(help_text="The envelope as JSON.")
    deliveries = models.PositiveIntegerField(default=0)
    available_at = models.DateTimeField()
    priority = models.PositiveSmallIntegerField(default=DEFAULT_PRIORITY)
    bypasses_pause = models.BooleanField(
        default=False, help_text="It goes on although its queue or flow is paused."
    )
    delayed = models.BooleanField(
        default=False, help_text="A delayed start: counted apart until a worker takes it."
    )
    branch = models.TextField(
        default="",
        blank=True,
        help_text="Which branch of its run, as numbers with points; empty before any fan-out.",
    )
    suspects = models.PositiveSmallIntegerField(
        default=0,
        help_text="A worker died while it held this. Messages like it are delivered in groups of"
        " this size, to find the one that killed the worker. 0: not suspected.",
    )
    pending_outputs = models.BooleanField(
        default=False,
        help_text="Its step is done; the body has the outputs without room in the next queue.",
    )
    waiting = OptionalText(
        null=True, help_text="How a script waits with it, see flows/store/waiting.py."
    )

    objects = MessageQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=Q(priority__lte=9), name="message_priority_0_to_9"),
            models.CheckConstraint(
                condition=Q(queue=None, consumer__isnull=False)
                | Q(queue__isnull=False, consumer=None),
                name="message_waits_or_is_held",
            ),
        ]
        indexes = [
            # For claims. It leaves out held messages, so moving one from step to step changes no
            # index (on PostgreSQL a HOT update).
            models.Index(
                "queue",
                "priority",
                "available_at",
                condition=Q(queue__isnull=False),
                name="message_waiting",
            ),
            models.Index(
                "queue",
                condition=Q(queue__isnull=False, bypasses_pause=True),
                name="message_bypasses_pause",
            ),
            models.Index("run", condition=Q(branch__gt=""), name="message_branch"),
        ]

    def __str__(self) -> str:
        return str(self.id)

"""What the engine writes. The hot path (flows/store) reads and writes these tables by SQL."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from flows.models.configuration import FlowVersion, Queue, StepVersion

# As JMS has it: 0 is the lowest, 9 the highest.
DEFAULT_PRIORITY = 4


class Status(models.TextChoices):
    """Of a run, and of a step within it."""

    QUEUED = "QUEUED", "Queued: waits for its first delivery"
    RUNNING = "RUNNING", "Running: at least one delivery was made"
    COMPLETED = "COMPLETED", "Completed: the last step gave the result"
    FAILED = "FAILED", "Failed: a message of it is a dead letter"
    CANCELLED = "CANCELLED", "Cancelled: stopped on demand"


class Run(models.Model):
    """One execution of a flow."""

    Status = Status

    correlation_id = models.UUIDField("correlation id", primary_key=True)
    flow_version = models.ForeignKey(FlowVersion, on_delete=models.PROTECT, related_name="runs")
    status = models.CharField(max_length=16, choices=Status, default=Status.QUEUED)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    result = models.TextField(null=True, help_text="JSON")  # noqa: DJ001  null: no result yet
    error = models.TextField(default="", blank=True)
    warnings = models.PositiveIntegerField(default=0)
    branches = models.PositiveIntegerField(
        default=1,
        help_text="Messages of it that have not come to their end, dead ones too.",
    )
    started_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    cancelled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ["-correlation_id"]
        indexes = [
            # Runs of a flow, newest first: a UUIDv7 sorts by time.
            models.Index(F("flow_version"), F("correlation_id").desc(), name="run_by_flow"),
        ]

    def __str__(self) -> str:
        return str(self.correlation_id)


class QueueState(models.Model):
    """The counters of a queue, apart from its configuration: they change with every batch.

    `depth + reserved` never exceeds the queue's size, nor does `delayed`. A delayed start is in
    `delayed` until a worker takes it, which it can where the queue has room, and in `depth` then.
    """

    queue = models.OneToOneField(
        Queue, primary_key=True, on_delete=models.CASCADE, related_name="state"
    )
    depth = models.PositiveIntegerField(default=0, help_text="Messages in it, held ones included.")
    reserved = models.PositiveIntegerField(
        default=0, help_text="Room kept for messages that the step before is running."
    )
    delayed = models.PositiveIntegerField(
        default=0, help_text="Delayed starts that no worker has taken yet, beside its depth."
    )
    recent_starts = models.TextField(
        default="", blank=True, help_text="What the rate limit counts; JSON, see flows/rate.py."
    )
    slow_until = models.DateTimeField(
        null=True, help_text="A script was asked to wait: until then one message at a time."
    )

    def __str__(self) -> str:
        return f"{self.queue}: {self.depth}"


class Consumer(models.Model):
    """A worker's session on a queue: the lease on the messages that point at it.

    Its id is the fencing token: who commits names it, and a session whose row is gone has lost
    its lease and commits nothing.
    """

    queue = models.ForeignKey(Queue, on_delete=models.PROTECT, related_name="consumers")
    threads = models.PositiveIntegerField()
    cluster = models.CharField(max_length=64)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField(null=True, help_text="Of the worker, once it has begun.")
    created_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField()
    attention = models.BooleanField(
        default=False, help_text="A run of which it holds a message was cancelled."
    )

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.queue} at {self.host}/{self.pid or '-'}"


class Message(models.Model):
    """A message with its envelope: it waits in a queue, or a consumer holds it.

    The id is its run's correlation id, so that a run finds its message without a further index;
    branches have ids of their own.
    References are not checked by the database: three checks a step cost a third of the rate,
    and what they point at is never deleted while there are messages.
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
        help_text="Who holds it.",
    )
    body = models.TextField(help_text="The envelope as JSON.")
    deliveries = models.PositiveIntegerField(default=0)
    available_at = models.DateTimeField()
    priority = models.PositiveSmallIntegerField(default=DEFAULT_PRIORITY)
    let_through = models.BooleanField(default=False, help_text="It passes where others pause.")
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
        help_text="A worker died while it held this: so many like it are delivered together, to"
        " find which it was; 0: it is not suspected.",
    )
    spilled = models.BooleanField(
        default=False,
        help_text="Its step is done; the body has the outputs without room in the next queue.",
    )

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
            # Claims. A held message is not in it, so that its way from step to step
            # touches no index (on PostgreSQL a HOT update).
            models.Index(
                "queue",
                "priority",
                "available_at",
                condition=Q(queue__isnull=False),
                name="message_waiting",
            ),
            models.Index(
                "queue",
                condition=Q(queue__isnull=False, let_through=True),
                name="message_let_through",
            ),
            models.Index("run", condition=Q(branch__gt=""), name="message_branch"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class StepRun(models.Model):
    """One delivery of a message to a step's script and what came of it."""

    class Outcome(models.TextChoices):
        COMPLETED = "COMPLETED", "Completed: the output was handed on"
        FAILED = "FAILED", "Failed: it is redelivered, or a dead letter after the last delivery"
        REJECTED = "REJECTED", "Rejected: a dead letter at once"
        CANCELLED = "CANCELLED", "Cancelled: the run was stopped"

    run = models.ForeignKey(
        Run, on_delete=models.CASCADE, db_constraint=False, related_name="step_runs"
    )
    step = models.ForeignKey(
        StepVersion,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    delivery = models.PositiveIntegerField(
        default=1, help_text="Which one it was; those whose worker died have left no row."
    )
    outcome = models.CharField(max_length=16, choices=Outcome)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    error = models.TextField(default="", blank=True)
    logs = models.TextField(default="", blank=True, help_text="JSON, or empty.")
    branch = models.TextField(default="", blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.step} {self.outcome}"


class DeadLetterQuerySet(models.QuerySet["DeadLetter"]):
    def open(self) -> DeadLetterQuerySet:
        """Those that wait for somebody's decision."""
        return self.filter(reprocessed_at=None, discarded_at=None)


class DeadLetter(models.Model):
    """A message that was rejected or ran out of deliveries, kept until somebody decides."""

    class Reason(models.TextChoices):
        EXHAUSTED = "exhausted", "out of deliveries"
        REJECTED = "rejected", "rejected by the script"
        INVALID = "invalid-output", "the output is not a message"
        EXPIRED = "expired", "the run is older than its flow allows"
        TOO_MANY = "too-many-branches", "it fans out to more than the next queue holds"
        NO_QUEUE = "no-queue", "the queue of the next step is gone"
        TOO_LARGE = "too-large", "the result is larger than allowed"
        NOT_STORABLE = "not-storable", "what came of it could not be stored"

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="dead_letters")
    step = models.ForeignKey(StepVersion, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=32, choices=Reason)
    error = models.TextField(help_text="With the script's traceback.")
    body = models.TextField(help_text="The envelope as the step received it, JSON.")
    deliveries = models.PositiveIntegerField()
    branch = models.TextField(default="", blank=True)
    dead_at = models.DateTimeField(db_index=True)
    reprocessed_at = models.DateTimeField(null=True, blank=True)
    reprocessed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    discarded_at = models.DateTimeField(null=True, blank=True)
    discarded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    objects = DeadLetterQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            # Those that wait for somebody's decision: the lists, the badge, the counts.
            models.Index(
                "step",
                "id",
                condition=Q(reprocessed_at=None, discarded_at=None),
                name="dead_letter_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.step} of {self.run_id}"


class BranchEnd(models.Model):
    """A branch that has come to its end, or to the join where it waits for the others."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="branch_ends")
    branch = models.TextField()
    body = models.TextField(help_text="Its last output, JSON.")

    class Meta:
        constraints = [
            models.UniqueConstraint("run", "branch", name="branch_ends_once"),
        ]

    def __str__(self) -> str:
        return f"{self.branch} of {self.run_id}"


class Tally(models.Model):
    """The books of a flow: runs counted apart from the rows they are checked against.

    accepted = completed + failed + cancelled + those of which there is a message.
    """

    flow_name = models.CharField(primary_key=True, max_length=100)
    accepted = models.BigIntegerField(default=0)
    completed = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    cancelled = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return self.flow_name


class IdempotencyKey(models.Model):
    """The caller's name for a start: the same key gives the same run."""

    flow_name = models.CharField(max_length=100)
    # Text, not a foreign key: no user stands for the commands, and NULL is never equal to NULL.
    caller = models.CharField(
        max_length=64, db_default="", help_text="The user's primary key; empty: a command."
    )
    key = models.CharField(max_length=255)
    # Of all that the caller asked for, see flows/digest.py.
    body_digest = models.CharField(max_length=64)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                "flow_name", "caller", "key", name="idempotency_key_once_per_caller"
            ),
        ]

    def __str__(self) -> str:
        return self.key

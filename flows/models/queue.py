"""Queues and their counters."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from simple_history.models import HistoricalRecords

from flows.models.backoff import Backoff
from flows.models.durations import not_longer_than_zero
from scripts.names import address_fault, require_name

if TYPE_CHECKING:
    from flows.models.flow import Step


# A message whose wake-up is lost waits as long.
LONGEST_POLLING = timedelta(hours=1)
# What a script may wait for with a message, unless its queue says otherwise.
LONGEST_WAIT = timedelta(days=7)


class Queue(models.Model):
    """A bounded queue of messages; it feeds one step."""

    name = models.CharField(
        max_length=100, unique=True, help_text="Such as the flow's and the step's: orders-check."
    )
    size = models.PositiveIntegerField(
        default=10_000,
        validators=[MinValueValidator(1)],
        help_text="Most messages it holds; a start beyond that is refused.",
    )
    polling = models.DurationField(
        default=timedelta(milliseconds=100),
        help_text="How often workers look for messages without a wake-up, such as 100 ms.",
    )
    max_deliveries = models.PositiveIntegerField(
        default=5,
        validators=[MinValueValidator(1), MaxValueValidator(1_000)],
        help_text="A message that failed this often becomes a dead letter.",
    )
    max_wait = models.DurationField(
        "longest wait",
        default=LONGEST_WAIT,
        db_default=LONGEST_WAIT,
        help_text="A message whose script waits for longer, by Wait, becomes a dead letter.",
    )
    backoff_initial = models.DurationField(
        "back-off", default=timedelta(seconds=1), help_text="Wait before the first redelivery."
    )
    backoff_multiplier = models.FloatField(
        "back-off multiplier",
        default=2.0,
        validators=[MinValueValidator(1.0)],
        help_text="Each wait is this many times the one before; 1: always the same.",
    )
    backoff_max = models.DurationField(
        "longest back-off",
        default=timedelta(seconds=300),
        help_text="No wait between two deliveries grows beyond this, such as 5 min.",
    )
    backoff_jitter = models.FloatField(
        "jitter",
        default=0.2,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text="Random part of the wait, 0 to 1.",
    )
    rate_count = models.PositiveIntegerField(
        "rate limit",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Most executions in one period; empty: no limit.",
    )
    rate_period = models.DurationField(
        "rate period",
        default=timedelta(seconds=1),
        help_text="The time that the rate limit counts in, such as 1 s or 1 min.",
    )
    cluster = models.CharField(
        max_length=100,
        default="",
        db_default="",
        blank=True,
        help_text="Only workers of this cluster take its messages; empty: those of all do.",
    )
    paused = models.BooleanField(default=False, help_text="Messages wait, none is handed out.")
    paused_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    pause_reason = models.TextField(
        default="", db_default="", blank=True, editable=False, help_text="Why it is paused."
    )
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(size__gte=1), name="queue_size_at_least_1"),
            models.CheckConstraint(
                condition=Q(max_deliveries__gte=1), name="queue_max_deliveries_at_least_1"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        self.make_state()

    def make_state(self) -> None:
        """Make the counters if they are missing, for example after a bulk insert."""
        QueueState.objects.get_or_create(queue=self)

    def clean(self) -> None:
        require_name(self, in_addresses=True)
        wrong = not_longer_than_zero(self, "polling", "max_wait", "backoff_max", "rate_period")
        if self.backoff_initial is not None and self.backoff_initial < timedelta(0):
            wrong["backoff_initial"] = "Must not be negative."
        if self.cluster and (fault := address_fault(self.cluster)):
            wrong["cluster"] = f"The name {fault}."
        if wrong := wrong or self._limits_exceeded():
            raise ValidationError(wrong)

    def _limits_exceeded(self) -> dict[str, str]:
        """Return the errors of durations that are new and too long. Stored ones may stay."""
        wrong = {}
        first, longest = self.backoff_initial, self.backoff_max
        is_longer = first is not None and longest is not None and first > longest
        if is_longer and self._differs("backoff_initial", "backoff_max"):
            wrong["backoff_initial"] = "Must not be longer than the longest back-off."
        is_long = self.polling is not None and self.polling > LONGEST_POLLING
        if is_long and self._differs("polling"):
            wrong["polling"] = "Must not be longer than 1 h."
        return wrong

    def _differs(self, *fields: str) -> bool:
        """Say whether one of the fields is not as it is stored."""
        values = {name: getattr(self, name) for name in fields}
        return not Queue.objects.filter(pk=self.pk, **values).exists()

    @property
    def backoff(self) -> Backoff:
        return Backoff(
            self.backoff_initial, self.backoff_multiplier, self.backoff_max, self.backoff_jitter
        )

    @property
    def fed_step(self) -> Step | None:
        """The step that the queue feeds, or None."""
        return getattr(self, "step", None)

    @property
    def depth(self) -> int:
        """The number of messages in the queue, held ones included."""
        return self.state.depth


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
        default="",
        blank=True,
        help_text="The recent starts that the rate limit counts, as JSON.",
    )
    slow_until = models.DateTimeField(
        null=True, help_text="A script was asked to wait: until then one message at a time."
    )

    def __str__(self) -> str:
        return f"{self.queue}: {self.depth}"

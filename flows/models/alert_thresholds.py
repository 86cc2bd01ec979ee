"""From when on the rules of alarms apply: for all, for a flow, or for a queue."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from simple_history.models import HistoricalRecords

from flows.models.durations import not_longer_than_zero
from flows.models.flow import Flow
from flows.models.live_cluster import COUNTS, KEPT
from flows.models.queue import Queue

LONGEST_AGE = timedelta(days=30)
# As far back as counters say whether workers were at a queue.
LONGEST_STILL = timedelta(days=7)
MOST_COUNTED = 1_000_000_000
# Of a queue, and of the whole installation alone. All others are of a flow.
OF_QUEUES = ("queue_full", "standing_still", "oldest_age")
OF_INSTALLATION = ("workers_gone",)


def _count(name: str, text: str) -> Any:
    bounds = [MinValueValidator(1), MaxValueValidator(MOST_COUNTED)]
    return models.PositiveIntegerField(
        name, null=True, blank=True, validators=bounds, help_text=text
    )


def _percent(name: str, text: str) -> Any:
    bounds = [MinValueValidator(0.01), MaxValueValidator(100)]
    return models.FloatField(name, null=True, blank=True, validators=bounds, help_text=text)


def _duration(name: str, text: str) -> Any:
    return models.DurationField(name, null=True, blank=True, help_text=text)


class AlertThresholds(models.Model):
    """Thresholds of one's own. An empty one is that of the flow, then that of the installation,
    then the engine's.
    """

    flow = models.ForeignKey(
        Flow,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="alert_thresholds",
        help_text="For this flow and its queues; empty, without a queue: for all.",
    )
    queue = models.ForeignKey(
        Queue,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="alert_thresholds",
        help_text="For this queue alone, before those of its flow.",
    )
    queue_full = _percent(
        "queue nearly full",
        "In percent of the queue's size: from then on there is a warning; empty: 90.",
    )
    standing_still = _duration(
        "queue standing still",
        "How long a message may be ready that no worker is at; then there is a critical alarm;"
        " empty: 3 min.",
    )
    oldest_age = _duration(
        "oldest message",
        "How long the oldest ready message may wait, also while workers are at the queue; then"
        " there is a warning; empty: any time.",
    )
    new_letters = _count(
        "new dead letters",
        "How many open ones made since yesterday raise a warning; empty: 1.",
    )
    failed_runs = _count(
        "failed runs",
        "With fewer in the last hour no flow fails more than usual; empty: 5.",
    )
    failed_share = _percent(
        "failed share",
        "In percent of the runs that ended in the last hour: with less no flow fails more than"
        " usual; empty: 2.",
    )
    failed_factor = models.FloatField(
        "failing more",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(1_000)],
        help_text="How many times the share of the week before is more than usual; empty: 2.",
    )
    critical_share = _percent(
        "critical failed share",
        "In percent of the runs that ended in the last hour: from then on failing more than usual"
        " is critical; empty: 50.",
    )
    workers_gone = _duration(
        "workers gone",
        "How long no cluster may be alive; then there is an alarm, critical while messages wait."
        " Empty: 15 s.",
    )
    history = HistoricalRecords()

    class Meta:
        verbose_name = verbose_name_plural = "alert thresholds"
        ordering = [F("queue__name").asc(nulls_first=True), F("flow__name").asc(nulls_first=True)]
        constraints = [
            models.CheckConstraint(
                condition=Q(flow=None) | Q(queue=None),
                name="alert_thresholds_of_flow_or_queue",
                violation_error_message="Choose a flow or a queue, not both.",
            ),
            models.UniqueConstraint(
                Coalesce("flow", 0),
                Coalesce("queue", 0),
                name="alert_thresholds_once",
                violation_error_message="It has thresholds already: change those.",
            ),
        ]

    def __str__(self) -> str:
        if self.queue:
            return f"queue {self.queue}"
        return f"flow {self.flow}" if self.flow else "installation"

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save them together with what is recorded about the change."""
        super().save(*args, **kwargs)

    def clean(self) -> None:
        wrong = not_longer_than_zero(self, "standing_still", "oldest_age")
        for name, longest in (("standing_still", LONGEST_STILL), ("oldest_age", LONGEST_AGE)):
            if (getattr(self, name) or timedelta()) > longest:
                wrong[name] = f"Must be at most {longest.days} days."
        if self.workers_gone is not None and not COUNTS <= self.workers_gone <= KEPT:
            wrong["workers_gone"] = "Must be 15 s to 1 h."
        place = "queue" if self.queue_id else "flow"
        for name in set_thresholds(self):
            if name not in thresholds_of(flow=self.flow_id, queue=self.queue_id):
                wrong[name] = f"A {place} has none of its own: leave it empty."
        if wrong:
            raise ValidationError(wrong)


NAMES = tuple(
    field.name
    for field in AlertThresholds._meta.concrete_fields
    if not field.primary_key and not field.is_relation
)


def thresholds_of(*, flow: Any = None, queue: Any = None) -> tuple[str, ...]:
    """Return the names of those that a flow or queue may have; without both, the installation."""
    if queue is not None:
        return OF_QUEUES
    return tuple(name for name in NAMES if flow is None or name not in OF_INSTALLATION)


def set_thresholds(row: AlertThresholds) -> dict[str, Any]:
    """Return those that are not empty, by name."""
    values = {name: getattr(row, name) for name in NAMES}
    return {name: value for name, value in values.items() if value is not None}

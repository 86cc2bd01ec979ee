"""Schedules of flows, as they are edited, and how far each has come."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Value
from django.utils import timezone
from simple_history.models import HistoricalRecords

from flows.models.cron_times import CronInvalid, CronTimes, require_times, zone_named
from flows.models.flow import Flow
from flows.models.message import DEFAULT_PRIORITY, HIGHEST_PRIORITY
from flows.models.run_label import MOST_LABELS, label_fault
from scripts.names import require_name
from scripts.protocol.strict_json import read_exactly

LONGEST_EXPRESSION = 200
MOST_JITTER = timedelta(days=1)


class FlowSchedule(models.Model):
    """Times at which a flow is started, with what payload."""

    class Missed(models.TextChoices):
        ONE = "one", "One run for all of them"
        ALL = "all", "A run for each, the last 100"
        SKIP = "skip", "None"

    class Overlap(models.TextChoices):
        START = "start", "Start nevertheless"
        SKIP = "skip", "Leave this time out"
        WAIT = "wait", "Start once it has ended"

    flow = models.ForeignKey(
        Flow,
        on_delete=models.CASCADE,
        related_name="schedules",
        help_text="The flow that it starts.",
    )
    name = models.CharField(
        max_length=100, help_text="One of its own in the flow; its runs have it as label."
    )
    active = models.BooleanField(
        default=True, help_text="While it is not active, no times are missed."
    )
    cron = models.CharField(
        "cron expression",
        max_length=LONGEST_EXPRESSION,
        help_text="Minute, hour, day of month, month, day of week, such as 30 6 * * MON-FRI; with a"
        " sixth field in front, seconds.",
    )
    time_zone = models.CharField(
        max_length=64, default="UTC", help_text="A name such as Europe/Berlin."
    )
    payload = models.TextField(
        default="{}", help_text="What each run is started with, a JSON object."
    )
    labels = models.JSONField(
        default=dict,
        db_default=Value({}, models.JSONField()),
        blank=True,
        help_text="Labels of its runs, beside schedule.",
    )
    priority = models.PositiveSmallIntegerField(
        default=DEFAULT_PRIORITY,
        validators=[MinValueValidator(0), MaxValueValidator(HIGHEST_PRIORITY)],
        help_text="Of waiting messages the higher ones go first, 0 to 9.",
    )
    missed = models.CharField(
        "missed times",
        max_length=8,
        choices=Missed,
        default=Missed.ONE,
        help_text="What becomes of times at which nothing could be started, by more than a minute:"
        " no worker ran, or the queue was full.",
    )
    overlap = models.CharField(
        "last run still runs",
        max_length=8,
        choices=Overlap,
        default=Overlap.START,
        help_text="What happens where the run before has not ended.",
    )
    jitter = models.DurationField(
        default=timedelta(0),
        help_text="Each start is later by a part of this, so that not all come at once.",
    )
    history = HistoricalRecords()

    class Meta:
        verbose_name = "schedule"
        ordering = ["flow", "name"]
        constraints = [
            models.UniqueConstraint("flow", "name", name="schedule_name_once_per_flow"),
        ]

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save it with its next time, and with what is recorded about the change."""
        super().save(*args, **kwargs)
        FlowScheduleState.renew(self, timezone.now())

    def clean(self) -> None:
        wrong: dict[str, Any] = {}
        try:
            # An entry of a document has no flow yet, so it is not known whether its name is new.
            require_name(self, in_addresses=self.flow_id is not None, may_be_star=True)
        except ValidationError as error:
            wrong |= error.message_dict
        if fault := label_fault("schedule", self.name):
            wrong["name"] = f"Its runs have the name as a label, and {fault}."
        zone = self.time_zone
        try:
            zone_named(zone)
        except CronInvalid as error:
            wrong["time_zone"], zone = str(error), "UTC"
        try:
            # An empty one is refused as a field.
            if self.cron:
                require_times(self.cron, zone, timezone.now())
        except CronInvalid as error:
            wrong["cron"] = str(error)
        if not timedelta(0) <= self.jitter <= MOST_JITTER:
            wrong["jitter"] = "Must be 0 s to 1 day."
        if fault := payload_fault(self.payload):
            wrong["payload"] = fault
        if fault := labels_fault(self.labels):
            wrong["labels"] = fault
        if wrong:
            raise ValidationError(wrong)

    def times(self) -> CronTimes:
        """Return its times. Raises CronInvalid."""
        return CronTimes(self.cron, self.time_zone)

    def starts_at(self, time: datetime) -> datetime:
        """Return when the run of a time is started: always the same for the same time.

        It is before the next time, which would otherwise come first.
        """
        if not self.jitter:
            return time
        following = self.times().after(time)
        most = self.jitter if following is None else min(self.jitter, following - time)
        digest = hashlib.sha256(f"{self.pk} {time.isoformat()}".encode()).digest()
        return time + most * (int.from_bytes(digest[:8]) / 2**64)


def payload_fault(text: str) -> str:
    """Say why the text is no payload, "" where it is one."""
    try:
        payload = read_exactly(text)
    except (ValueError, RecursionError) as error:
        return f"Must be a JSON object: {error}."
    return "" if isinstance(payload, dict) else "Must be a JSON object."


def labels_fault(labels: Any) -> str:
    """Say why these are no labels of a schedule, "" where they are."""
    if not isinstance(labels, dict):
        return "Must be a JSON object of texts."
    # Its runs have one more, with the name of the schedule.
    if len(labels) >= MOST_LABELS:
        return f"A run has at most {MOST_LABELS}, one of them the schedule's."
    faults = (label_fault(key, value) for key, value in labels.items())
    return next((f"{fault[:1].upper()}{fault[1:]}." for fault in faults if fault), "")


class FlowScheduleState(models.Model):
    """How far a schedule has come. The engine alone writes it."""

    schedule = models.OneToOneField(
        FlowSchedule, on_delete=models.CASCADE, primary_key=True, related_name="state"
    )
    # Its times were found for these settings.
    settings = models.CharField(max_length=300, default="")
    time = models.DateTimeField(null=True, help_text="The next time of the expression.")
    at = models.DateTimeField(
        null=True, db_index=True, help_text="When the engine looks at it; null: never."
    )
    last_time = models.DateTimeField(null=True, help_text="The time of the last run.")
    last_run = models.UUIDField(null=True)
    problem = models.TextField(default="", help_text="Why the last time had no run; empty: it had.")

    def __str__(self) -> str:
        return f"{self.schedule} at {self.time}"

    @classmethod
    def renew(cls, schedule: FlowSchedule, now: datetime) -> None:
        """Find its next time, unless that is known: a schedule begins when it is set."""
        settings = ""
        if schedule.active:
            settings = f"{schedule.cron} {schedule.time_zone} {schedule.jitter}"
        found = cls.objects.select_for_update().filter(pk=schedule.pk).first()
        if found is not None and found.settings == settings:
            return
        state = found or cls(schedule=schedule)
        state.schedule = schedule
        state.settings = settings
        state.problem = ""
        state.wait_for(schedule.times().after(now) if schedule.active else None)
        state.save()

    def wait_for(self, time: datetime | None) -> None:
        self.time = time
        self.at = None if time is None else self.schedule.starts_at(time)

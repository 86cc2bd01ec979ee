"""Alerts: where they are sent, what fires and since when, and what was told.

Only the engine task writes what fires; it does so while there is a target.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q, Value
from django.utils import timezone
from simple_history.models import HistoricalRecords

from scripts.models.encrypted_text import EncryptedText
from scripts.names import require_name

LONGEST_NAME = 255
LONGEST_ERROR = 500
LONGEST_TIME = timedelta(days=30)


class AlertLevel(models.TextChoices):
    """How soon an alarm has to be looked at: today, or at once."""

    WARNING = "warning", "Warning"
    CRITICAL = "critical", "Critical"


class AlertTarget(EncryptedText):
    """Where alerts are sent: an address that Apprise knows, which may hold secrets.

    The address is its own, or the value of a secret.
    """

    name = models.CharField(
        max_length=100, unique=True, help_text="What the target is called, such as team-mail."
    )
    active = models.BooleanField(
        default=True, help_text="While it is not active, nothing is sent to it."
    )
    # Of the address, the rest is secret.
    scheme = models.CharField("kind", max_length=40, editable=False)
    address_secret = models.CharField(
        "secret with the address",
        max_length=100,
        default="",
        db_default="",
        blank=True,
        help_text="The secret whose value is the address, in place of one that is entered here. A"
        " configuration document names it, and a new value of it counts at once.",
    )
    least_level = models.CharField(
        "level",
        max_length=10,
        choices=[
            (AlertLevel.WARNING, "Warnings, too"),
            (AlertLevel.CRITICAL, "Critical ones alone"),
        ],
        default=AlertLevel.WARNING,
        help_text="Which it is told.",
    )
    rules = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        blank=True,
        help_text="The rules that it is told of; none chosen: all.",
    )
    quiet_time = models.DurationField(
        default=timedelta(minutes=5),
        help_text="The least time between two messages. What happens meanwhile comes together.",
    )
    repeat_after = models.DurationField(
        default=timedelta(days=1),
        help_text="An alert that goes on is told again after this time; 0 s: never.",
    )
    tells_end = models.BooleanField(
        "tells the end", default=True, help_text="It is told when an alert has ended, too."
    )
    changed_at = models.DateTimeField("address changed", editable=False)
    history = HistoricalRecords(excluded_fields=["encrypted"])

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save it with its state, and with what is recorded about the change."""
        super().save(*args, **kwargs)
        AlertTargetState.objects.get_or_create(target=self)

    def clean(self) -> None:
        require_name(self)
        wrong = {
            name: "Must be 0 s to 30 days."
            for name in ("quiet_time", "repeat_after")
            if not timedelta(0) <= (getattr(self, name) or timedelta(0)) <= LONGEST_TIME
        }
        if wrong:
            raise ValidationError(wrong)

    def set_url(self, url: str) -> None:
        self.set_value(url)
        self.scheme = url.partition("://")[0].lower()[:40]
        self.address_secret = ""

    def set_secret(self, name: str) -> None:
        """Take the address from a secret, by its name; "": it has no address."""
        self.address_secret, self.encrypted, self.scheme = name, "", ""
        self.changed_at = timezone.now()


class AlertTargetState(models.Model):
    """What has become of the messages to a target. The engine alone writes it."""

    target = models.OneToOneField(
        AlertTarget, on_delete=models.CASCADE, primary_key=True, related_name="state"
    )
    taken_until = models.DateTimeField(
        null=True, help_text="Until then one process sends to it, or none tries again."
    )
    sent_at = models.DateTimeField(null=True, help_text="When the last message was sent.")
    failures = models.PositiveIntegerField(default=0, help_text="Since the last success.")
    error = models.CharField(max_length=LONGEST_ERROR, default="", blank=True)

    def __str__(self) -> str:
        return f"state of {self.target}"


class AlertQuerySet(models.QuerySet["Alert"]):
    def firing(self) -> AlertQuerySet:
        return self.filter(ended_at=None)


class Alert(models.Model):
    """An alarm of home that fires, or has fired lately. The engine alone writes it."""

    rule = models.CharField(max_length=100)
    # With the rule they tell one alert from another.
    flow = models.CharField(max_length=LONGEST_NAME, default="", blank=True)
    queue = models.CharField(max_length=LONGEST_NAME, default="", blank=True)
    subject = models.CharField(max_length=LONGEST_NAME, default="", blank=True)
    level = models.CharField(max_length=10, choices=AlertLevel)
    sentence = models.TextField()
    advice = models.TextField(default="", blank=True)
    since = models.DateTimeField(help_text="When it was found first.")
    seen_at = models.DateTimeField("last found", help_text="When it was found last.")
    ended_at = models.DateTimeField(
        "ended", null=True, db_index=True, help_text="When it was found no more; empty: it fires."
    )

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = [models.F("ended_at").desc(nulls_first=True), "-since"]
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "flow", "queue", "subject"],
                condition=Q(ended_at=None),
                name="alert_fires_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.rule} {self.flow or self.queue or self.subject}".strip()


class AlertNotice(models.Model):
    """What a target was told of an alert last."""

    target = models.ForeignKey(AlertTarget, on_delete=models.CASCADE, related_name="notices")
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="notices")
    level = models.CharField(max_length=10)
    told_at = models.DateTimeField()
    is_end = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint("target", "alert", name="alert_notice_once_per_target")
        ]

    def __str__(self) -> str:
        return f"{self.alert} to {self.target}"


class AlertsClock(models.Model):
    """One row: when the rules were applied last. It is locked meanwhile."""

    evaluated_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"alerts at {self.evaluated_at}"

"""Flows and their steps, as they are edited."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q, Value
from simple_history.models import HistoricalRecords

from flows.models.configuration_revision import ConfigurationRevision
from flows.models.durations import is_rate_period, not_longer_than_zero
from flows.models.keep import Keep
from flows.models.queue import Queue
from flows.models.starting import rename_start
from flows.models.version import FlowVersion, StepVersion
from flows.models.webhook_url import LONGEST_URL, is_private, url_fault
from scripts.models import Script, ScriptVersion, unrepeatable_id, with_next_number
from scripts.names import require_name


class Flow(models.Model):
    """An ordered list of steps that a payload goes through."""

    name = models.CharField(
        max_length=100,
        unique=True,
        help_text="In the address that callers start it at; a new name makes a new address.",
    )
    description = models.TextField(
        blank=True, help_text="What it does, for operators and in the API's documentation."
    )
    active = models.BooleanField(default=True, help_text="An inactive flow refuses starts.")
    retention = models.DurationField(
        default=timedelta(days=30), help_text="Finished runs are kept this long."
    )
    max_age = models.DurationField(
        "age limit",
        null=True,
        blank=True,
        help_text="A run older than this is not redelivered any more; empty: no limit.",
    )
    keep = models.CharField(
        "payloads kept",
        max_length=16,
        choices=Keep,
        default=Keep.EVERYTHING,
        db_default=Keep.EVERYTHING,
        help_text="Which payloads of its runs stay to be looked at, as long as the runs do. Runs"
        " under way keep as they started.",
    )
    archive = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Its runs are written to the archive before they are purged.",
    )
    may_start = models.JSONField(
        "may start",
        default=list,
        db_default=Value([], models.JSONField()),
        blank=True,
        help_text="Flows that its scripts may start with context.start, by name.",
    )
    webhook_url = models.CharField(
        "webhook",
        max_length=LONGEST_URL,
        default="",
        db_default="",
        blank=True,
        help_text="This address is told the end of every run, by a signed POST; empty: none is.",
    )
    private_webhooks = models.BooleanField(
        "private addresses",
        default=False,
        db_default=False,
        help_text="Webhooks may go to addresses of inner networks and of this machine.",
    )
    start_rate_count = models.PositiveIntegerField(
        "start rate",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(1_000_000)],
        help_text="Most runs that callers of the API start in one period; empty: no limit.",
    )
    start_rate_period = models.DurationField(
        "start rate period",
        default=timedelta(seconds=1),
        db_default=timedelta(seconds=1),
        help_text="The time that the start rate counts in, 1 s to 1 day, such as 1 min.",
    )
    paused = models.BooleanField(
        default=False, help_text="Starts are accepted, but the messages of all its steps wait."
    )
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

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save it together with what is recorded about the change, and what follows its name."""
        fields = kwargs.get("update_fields")
        if fields is None or "name" in fields:
            rename_start(self)
        super().save(*args, **kwargs)

    def clean(self) -> None:
        require_name(self, in_addresses=True)
        wrong = not_longer_than_zero(self, "retention", "max_age")
        if not is_rate_period(self.start_rate_period):
            wrong["start_rate_period"] = "Must be whole seconds, from 1 s to 1 day."
        if wrong:
            raise ValidationError(wrong)
        if fault := self.webhook_fault():
            raise ValidationError({"webhook_url": f"It {fault}."})

    def webhook_fault(self) -> str:
        """Say what is wrong with the address of the webhook, "" where nothing is."""
        if not self.webhook_url:
            return ""
        if fault := url_fault(self.webhook_url):
            return fault
        if is_private(self.webhook_url) and not self.private_webhooks:
            return "must be a public address: private ones are not granted here"
        return ""

    @property
    def start_rate(self) -> tuple[int, int] | None:
        """The most starts by callers of the API, and in how many seconds; None: no limit."""
        if not self.start_rate_count:
            return None
        return self.start_rate_count, int(self.start_rate_period.total_seconds())

    def make_version(self, author: Any = None) -> FlowVersion:
        """Return the version with the current steps, a new one if the latest differs.

        A flow version has script versions, so a change of a script gives its flows new versions.
        Without `author` the author of the newest changed script counts.
        """
        return (
            self._current_version()
            or self._version_made_apart(author)
            or with_next_number(lambda: self._make_version(author))
        )

    def _version_made_apart(self, author: Any) -> FlowVersion | None:
        from flows.models.version_maker import make_apart

        return self._current_version() if make_apart(self, author) else None

    def _current_version(self) -> FlowVersion | None:
        """Return the latest version if it has the current steps."""
        latest = self._latest_version()
        return latest if latest and self._is_current(latest, self._steps()) else None

    def _latest_version(self) -> FlowVersion | None:
        return self.versions.order_by("number").last()

    def _is_current(self, latest: FlowVersion, steps: list[dict[str, Any]]) -> bool:
        own = self.name, self.keep, self.may_start
        same = (latest.flow_name, latest.keep, latest.may_start) == own
        return same and latest.has_steps(steps)

    @transaction.atomic
    def _make_version(self, author: Any) -> FlowVersion:
        # Locked while it is read, so that the version is a state that existed.
        ConfigurationRevision.lock()
        return self.add_version(author)

    def add_version(self, author: Any = None) -> FlowVersion:
        """Return the version with the current steps. The caller prevents changes meanwhile."""
        self.refresh_from_db(fields=["name", "keep", "may_start"])
        steps = []
        for step in self._steps_with_parts().select_related("queue__state"):
            if not hasattr(step.queue, "state"):
                step.queue.make_state()
            steps.append(step.snapshot(step.script.make_version()))
        latest = self._latest_version()
        if latest and self._is_current(latest, steps):
            return latest
        version = self.versions.create(
            pk=unrepeatable_id(),
            # After the one that was compared: if another was committed since, the number is taken.
            number=latest.number + 1 if latest else 1,
            flow_name=self.name,
            keep=self.keep,
            may_start=self.may_start,
            author=author or self._author_of_scripts(latest, steps),
        )
        StepVersion.objects.bulk_create(
            StepVersion(pk=unrepeatable_id(), flow_version=version, position=position, **step)
            for position, step in enumerate(steps)
        )
        return version

    def _author_of_scripts(self, latest: FlowVersion | None, steps: list[dict[str, Any]]) -> Any:
        """Return the author of the newest changed script if nothing but scripts has changed."""
        before = latest.snapshot() if latest else []
        if list(map(_without_script, before)) != list(map(_without_script, steps)):
            return None
        ids = {step["script_version_id"] for step in steps}
        changed = ScriptVersion.objects.filter(pk__in=ids).order_by("created_at")
        newest = changed.exclude(pk__in={step["script_version_id"] for step in before}).last()
        return newest.author if newest else None

    def _steps(self) -> list[dict[str, Any]]:
        return [step.snapshot(step.script.matching_version()) for step in self._steps_with_parts()]

    def _steps_with_parts(self) -> models.QuerySet[Step]:
        parts = self.steps.select_related("script", "queue")
        return parts.prefetch_related("script__library_uses")


def id_of_flow(version: FlowVersion) -> int | None:
    """Return the id of the flow of a version, also of one that was deleted, as long as its history
    tells: it has the same id once it is restored.
    """
    if version.flow_id is not None:
        return version.flow_id
    # It may have had another name at its end, and another flow its name since.
    named = Flow.history.filter(name=version.flow_name, history_date__lte=version.created_at)
    own = named.order_by("-history_date", "-history_id").first()
    return own.id if own else None


class Step(models.Model):
    """One step of a flow: its script, the queue that feeds it and its processing threads."""

    flow = models.ForeignKey(Flow, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveIntegerField(default=0, db_index=True)
    name = models.CharField(max_length=100)
    script = models.ForeignKey(Script, on_delete=models.PROTECT, related_name="steps")
    queue = models.OneToOneField(Queue, on_delete=models.PROTECT, related_name="step")
    threads = models.PositiveIntegerField(
        default=4,
        validators=[MinValueValidator(1), MaxValueValidator(1_000)],
        help_text="Messages run at the same time, over all clusters.",
    )
    join = models.BooleanField(
        default=False,
        help_text="Waits for all branches of a run and gets them as one message.",
    )
    goes_to = models.JSONField(
        "goes to",
        default=list,
        db_default=Value([], models.JSONField()),
        blank=True,
        help_text="Later steps that its script may choose with context.go, by name; the next one it"
        " may always choose.",
    )
    history = HistoricalRecords()

    class Meta:
        ordering = ["flow", "position", "id"]
        constraints = [
            models.UniqueConstraint("flow", "name", name="step_name_once_per_flow"),
            models.CheckConstraint(condition=Q(threads__gte=1), name="step_threads_at_least_1"),
        ]

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save it together with what is recorded about the change."""
        super().save(*args, **kwargs)

    def clean(self) -> None:
        require_name(self)

    def snapshot(self, version: ScriptVersion | None) -> dict[str, Any]:
        """Return what a version of the step has, with this version of its script."""
        return {
            "name": self.name,
            "script_version_id": version.pk if version else None,
            "queue_id": self.queue_id,
            "queue_name": self.queue.name,
            "join": self.join,
            "goes_to": self.goes_to,
            "threads": self.threads,
        }


def _without_script(step: dict[str, Any]) -> dict[str, Any]:
    return {name: step[name] for name in ("name", "queue_id", "queue_name", "join", "goes_to")}

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import connection, models, transaction
from django.db.models import Max, Q
from simple_history.models import HistoricalRecords

from flows.backoff import Backoff
from scripts.models import Script, ScriptVersion, unrepeatable_id, with_next_number
from scripts.names import require_name


class ConfigurationRevision(models.Model):
    """One row whose token changes with every change, so that a process sees it at once.

    Triggers change it, see flows/revision.py. Random, not counted: a number that was rolled back
    would come again for something else.
    """

    token = models.UUIDField(default=uuid4)

    def __str__(self) -> str:
        return str(self.token)

    @classmethod
    def lock(cls) -> None:
        """Let no other transaction change the configuration until this one ends."""
        cls.objects.get_or_create(pk=1)
        cls.objects.select_for_update().get(pk=1)

    @classmethod
    def current(cls) -> str:
        """Return the token as text; every start asks, so it is read without a QuerySet."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT token FROM flows_configurationrevision")
            row = cursor.fetchone()
        return str(row[0]) if row else ""


def not_longer_than_zero(model: models.Model, *durations: str) -> dict[str, str]:
    """Return what is wrong with which of the durations."""
    return {
        name: "Must be longer than zero."
        for name in durations
        if (value := getattr(model, name)) is not None and value <= timedelta(0)
    }


class Queue(models.Model):
    """A bounded queue of messages; it feeds one step."""

    name = models.CharField(max_length=100, unique=True)
    size = models.PositiveIntegerField(
        default=10_000,
        validators=[MinValueValidator(1)],
        help_text="Most messages it holds; a start beyond that is refused.",
    )
    polling = models.DurationField(
        default=timedelta(milliseconds=100),
        help_text="The longest a message that is ready waits to be noticed without a wake-up.",
    )
    max_deliveries = models.PositiveIntegerField(
        default=5,
        validators=[MinValueValidator(1), MaxValueValidator(1_000)],
        help_text="A message that failed this often becomes a dead letter.",
    )
    backoff_initial = models.DurationField(
        "back-off", default=timedelta(seconds=1), help_text="Wait before the first redelivery."
    )
    backoff_multiplier = models.FloatField(
        "back-off multiplier", default=2.0, validators=[MinValueValidator(1.0)]
    )
    backoff_max = models.DurationField("longest back-off", default=timedelta(seconds=300))
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
    rate_period = models.DurationField("rate period", default=timedelta(seconds=1))
    paused = models.BooleanField(default=False, help_text="Messages wait, none is handed out.")
    paused_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
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
        """Make the counters, which a data migration or a bulk insert does not."""
        from flows.models.runtime import QueueState

        QueueState.objects.get_or_create(queue=self)

    def clean(self) -> None:
        require_name(self, in_addresses=True)
        wrong = not_longer_than_zero(self, "polling", "backoff_max", "rate_period")
        if self.backoff_initial is not None and self.backoff_initial < timedelta(0):
            wrong["backoff_initial"] = "Must not be negative."
        if wrong:
            raise ValidationError(wrong)

    @property
    def backoff(self) -> Backoff:
        return Backoff(
            self.backoff_initial, self.backoff_multiplier, self.backoff_max, self.backoff_jitter
        )

    @property
    def depth(self) -> int:
        """Messages in the queue, those being run included."""
        return self.state.depth


class Flow(models.Model):
    """An ordered list of steps that a payload goes through."""

    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(blank=True)
    active = models.BooleanField(default=True, help_text="An inactive flow refuses starts.")
    retention = models.DurationField(
        default=timedelta(days=30), help_text="Finished runs are kept this long."
    )
    max_age = models.DurationField(
        "longest age",
        null=True,
        blank=True,
        help_text="A run older than this is not redelivered any more; empty: no limit.",
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
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        require_name(self, in_addresses=True)
        if wrong := not_longer_than_zero(self, "retention", "max_age"):
            raise ValidationError(wrong)

    def make_version(self) -> FlowVersion:
        """Return the version with the present steps, a new one if the latest differs.

        A step's script counts with its version, so editing a script gives its flows new versions.
        """
        return (
            self._current_version()
            or self._version_made_apart()
            or with_next_number(self._make_version)
        )

    def _version_made_apart(self) -> FlowVersion | None:
        from flows.models.version_maker import make_apart

        return self._current_version() if make_apart(self) else None

    def _current_version(self) -> FlowVersion | None:
        """Return the latest version if it has the present steps."""
        latest = self.versions.order_by("number").last()
        is_current = latest and latest.flow_name == self.name and latest.snapshot() == self._steps()
        return latest if is_current else None

    @transaction.atomic
    def _make_version(self) -> FlowVersion:
        # Nothing is changed while it is read, so that the version is a state that there was.
        ConfigurationRevision.lock()
        return self.add_version()

    def add_version(self) -> FlowVersion:
        """Return the version with the present steps. The caller has nothing change meanwhile."""
        self.refresh_from_db(fields=["name"])
        for step in self.steps.select_related("script", "queue"):
            step.script.make_version()
            step.queue.make_state()
        if current := self._current_version():
            return current
        latest = self.versions.aggregate(number=Max("number"))["number"] or 0
        version = self.versions.create(pk=unrepeatable_id(), number=latest + 1, flow_name=self.name)
        StepVersion.objects.bulk_create(
            StepVersion(pk=unrepeatable_id(), flow_version=version, position=position, **step)
            for position, step in enumerate(self._steps())
        )
        return version

    def _steps(self) -> list[dict[str, Any]]:
        return [step.snapshot() for step in self.steps.select_related("script", "queue")]


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
    history = HistoricalRecords()

    class Meta:
        ordering = ["flow", "position", "id"]
        constraints = [
            models.UniqueConstraint("flow", "name", name="step_name_once_per_flow"),
            models.CheckConstraint(condition=Q(threads__gte=1), name="step_threads_at_least_1"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        require_name(self)

    def snapshot(self) -> dict[str, Any]:
        version = self.script.matching_version()
        return {
            "name": self.name,
            "script_version_id": version.pk if version else None,
            "queue_id": self.queue_id,
            "queue_name": self.queue.name,
            "join": self.join,
        }


class FlowVersion(models.Model):
    """A flow's ordered steps as they once were. Immutable; a run keeps the one it started with."""

    flow = models.ForeignKey(Flow, null=True, on_delete=models.SET_NULL, related_name="versions")
    flow_name = models.CharField(max_length=100)
    number = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["flow_name", "-number"]
        constraints = [
            models.UniqueConstraint("flow", "number", name="one_flow_version_per_number"),
        ]

    def __str__(self) -> str:
        return f"{self.flow_name} v{self.number}"

    def snapshot(self) -> list[dict[str, Any]]:
        fields = ("name", "script_version_id", "queue_id", "queue_name", "join")
        return [dict(row) for row in self.steps.order_by("position").values(*fields)]


class StepVersion(models.Model):
    """A step as a flow version has it; a message points at the one it is at."""

    flow_version = models.ForeignKey(FlowVersion, on_delete=models.CASCADE, related_name="steps")
    position = models.PositiveIntegerField()
    name = models.CharField(max_length=100)
    script_version = models.ForeignKey(ScriptVersion, on_delete=models.PROTECT, related_name="+")
    queue = models.ForeignKey(Queue, null=True, on_delete=models.SET_NULL, related_name="+")
    queue_name = models.CharField(max_length=100)
    join = models.BooleanField(default=False)

    class Meta:
        ordering = ["flow_version", "position"]
        constraints = [
            models.UniqueConstraint(
                "flow_version", "position", name="one_step_version_per_position"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Right(models.TextChoices):
    START = "start", "start: may start runs and see the own ones"
    WATCH = "watch", "watch: may see every run"
    OPERATE = "operate", "operate: may pause, cancel and reprocess"


class RoleMapping(models.Model):
    """Gives a role (a Django group) a right to one flow or to all."""

    role = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="role_mappings")
    right = models.CharField(max_length=16, choices=Right, default=Right.START)
    flow = models.ForeignKey(
        Flow,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="role_mappings",
        help_text="Empty: every flow.",
    )
    history = HistoricalRecords()

    class Meta:
        ordering = ["role__name", "right"]
        constraints = [
            models.UniqueConstraint("role", "right", "flow", name="role_mapping_once_per_flow"),
            models.UniqueConstraint(
                "role", "right", condition=Q(flow=None), name="role_mapping_once_for_all_flows"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} may {self.right} {self.flow or 'every flow'}"

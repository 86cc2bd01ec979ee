from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from simple_history.models import HistoricalRecords


class Language(models.TextChoices):
    PYTHON = "python", "Python"
    JAVASCRIPT = "javascript", "JavaScript"


class ScriptContent(models.Model):
    """What a version of a script consists of: change any of it and there is a new version."""

    language = models.CharField(max_length=16, choices=Language, default=Language.PYTHON)
    code = models.TextField()
    input_schema = models.JSONField(
        default=dict, blank=True, help_text="JSON Schema of the payload; empty accepts any."
    )
    output_schema = models.JSONField(
        default=dict, blank=True, help_text="JSON Schema of the output's payload; empty: any."
    )
    timeout = models.DurationField(
        default=timedelta(seconds=30), help_text="A run of the script is ended after this time."
    )
    memory_mb = models.PositiveIntegerField(
        "memory (MB)",
        default=256,
        validators=[MinValueValidator(16), MaxValueValidator(65_536)],
    )
    network = models.BooleanField(default=False, help_text="May the script make outside calls?")

    class Meta:
        abstract = True

    CONTENT_FIELDS = (
        "language",
        "code",
        "input_schema",
        "output_schema",
        "timeout",
        "memory_mb",
        "network",
    )

    def content(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.CONTENT_FIELDS}


class Script(ScriptContent):
    """An on-demand script as it is edited. What runs is always one of its versions."""

    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        self.make_version()

    def clean(self) -> None:
        if self.timeout is not None and self.timeout <= timedelta(0):
            raise ValidationError({"timeout": "The time limit must be longer than zero."})

    @property
    def current_version(self) -> ScriptVersion:
        return self.versions.latest("number")

    def make_version(self) -> ScriptVersion:
        """Return the version with the present content, a new one if the latest differs."""
        latest = self.versions.order_by("number").last()
        if latest and latest.script_name == self.name and latest.content() == self.content():
            return latest
        number = latest.number + 1 if latest else 1
        return self.versions.create(number=number, script_name=self.name, **self.content())


class ScriptVersion(ScriptContent):
    """Immutable. It outlives its script, since runs that started with it may still need it."""

    script = models.ForeignKey(
        Script, null=True, on_delete=models.SET_NULL, related_name="versions"
    )
    script_name = models.CharField(max_length=100)
    number = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ["script_name", "-number"]
        constraints = [
            models.UniqueConstraint("script", "number", name="one_script_version_per_number"),
        ]

    def __str__(self) -> str:
        return f"{self.script_name} v{self.number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("a script version is immutable: save its script to make a new one")
        super().save(*args, **kwargs)

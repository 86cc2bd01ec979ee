from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models, transaction
from simple_history.models import HistoricalRecords

if TYPE_CHECKING:
    from scripts.models.script import Script


class ReferenceTable(models.Model):
    """A table that scripts look up by its name. What it has is in its versions."""

    name = models.CharField(
        max_length=100,
        unique=True,
        validators=[
            RegexValidator(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", "Letters, digits, and _ . - inside.")
        ],
        help_text="What scripts ask for; it cannot be changed later.",
    )
    description = models.TextField(
        blank=True, help_text="What it has, and where a new file comes from."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    history = HistoricalRecords()

    # Changes that no column has, before and after, by name: noted for the receivers of `post_save`.
    extra_changes: dict[str, tuple[list[str], list[str]]] = {}

    class Meta:
        ordering = ["name"]
        verbose_name = "table"

    def __str__(self) -> str:
        return self.name

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save it together with what is recorded about the change."""
        super().save(*args, **kwargs)

    @transaction.atomic
    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Delete it with its versions, and the files that no other table has."""
        deleted = super().delete(*args, **kwargs)
        TableContent.objects.filter(versions=None).delete()
        return deleted

    def latest(self) -> TableVersion | None:
        """Return the version that scripts get, None before the first file."""
        return self.versions.select_related("content").order_by("number").last()

    def scripts(self) -> list[Script]:
        """Return the scripts that may read it. Databases differ in how they look into JSON."""
        from scripts.models.script import Script

        return [script for script in Script.objects.all() if self.name in script.tables]


class TableContent(models.Model):
    """A file of a table, which never changes; its bytes are in its pieces."""

    # SHA-256 of the format, the key and the file: the same content is stored once.
    identity = models.CharField(max_length=64, unique=True)
    digest = models.CharField(max_length=64, help_text="SHA-256 of the file.")
    format = models.CharField(max_length=8)
    key = models.TextField(blank=True)
    columns = models.JSONField(null=True, blank=True)
    size = models.PositiveBigIntegerField(help_text="Bytes of the file.")
    rows = models.PositiveIntegerField()

    def __str__(self) -> str:
        return self.digest[:12]


class TablePiece(models.Model):
    """Some bytes of a file, compressed."""

    content = models.ForeignKey(TableContent, on_delete=models.CASCADE, related_name="pieces")
    position = models.PositiveIntegerField()
    compressed = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint("content", "position", name="one_piece_per_position"),
        ]

    def __str__(self) -> str:
        return f"{self.content}, piece {self.position}"


class TableVersion(models.Model):
    """Immutable: a file that the table had, or has where its number is the last."""

    table = models.ForeignKey(ReferenceTable, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    content = models.ForeignKey(TableContent, on_delete=models.PROTECT, related_name="versions")
    created_at = models.DateTimeField(auto_now_add=True)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ["table", "-number"]
        constraints = [
            models.UniqueConstraint("table", "number", name="one_table_version_per_number"),
        ]

    def __str__(self) -> str:
        return f"{self.table} v{self.number}"

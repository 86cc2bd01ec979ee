from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

from flows.encryption.payload_keys import plain_bytes
from flows.models.payload_text import PayloadText

if TYPE_CHECKING:
    from datetime import datetime


class FlowStateTotals(models.Model):
    """How much state a flow has. Who changes the state locks this row first."""

    flow = models.OneToOneField(
        "flows.Flow", primary_key=True, on_delete=models.CASCADE, related_name="+"
    )
    # Each key with its value, the expired ones that are not deleted yet included.
    keys = models.PositiveIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "flow state totals"

    def __str__(self) -> str:
        return f"{self.keys} keys of the flow {self.flow_id}"


class FlowStateQuerySet(models.QuerySet["FlowState"]):
    def live(self, now: datetime) -> FlowStateQuerySet:
        """Return those that have not expired."""
        return self.filter(models.Q(expires_at=None) | models.Q(expires_at__gt=now))

    def expired(self, now: datetime) -> FlowStateQuerySet:
        return self.filter(expires_at__lte=now)


class FlowState(models.Model):
    """A value that the scripts of a flow have left for its later messages, by `context.state`."""

    flow = models.ForeignKey("flows.Flow", on_delete=models.CASCADE, related_name="states")
    key = models.CharField(max_length=200)
    value = PayloadText(help_text="JSON.")
    # Changes with each change of the value, and is never used again.
    version = models.BigIntegerField()
    expires_at = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField()

    objects = FlowStateQuerySet.as_manager()

    class Meta:
        ordering = ["flow", "key"]
        verbose_name = "state"
        constraints = [
            models.UniqueConstraint(fields=["flow", "key"], name="one_value_per_key_of_a_flow"),
        ]
        indexes = [
            models.Index(
                "expires_at",
                name="expiring_states",
                condition=models.Q(expires_at__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return self.key

    @property
    def size(self) -> int:
        """The bytes that it counts as."""
        return size_of(self.key, self.value)


def size_of(key: str, value: str) -> int:
    """Return the bytes that a value counts as, which may be as the database has it."""
    return len(key.encode()) + plain_bytes(value)

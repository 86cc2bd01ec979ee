from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.db import models, transaction
from django.db.models import Q
from simple_history.models import HistoricalRecords

from flows.models.flow import Flow


class Right(models.TextChoices):
    START = "start", "start: may start runs and see the own ones"
    WATCH = "watch", "watch: may see every run"
    OPERATE = "operate", "operate: may pause, cancel and reprocess"
    CONFIGURE = "configure", "configure: may watch and change steps, scripts and queues"


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

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save it together with what is recorded about the change."""
        super().save(*args, **kwargs)

from __future__ import annotations

from django.db import models


class FlowTotals(models.Model):
    """The totals of a flow. Conservation compares them with the rows of its runs and messages.

    accepted = completed + failed + cancelled + runs with a message.
    """

    flow_name = models.CharField(primary_key=True, max_length=100)
    accepted = models.BigIntegerField(default=0)
    completed = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    cancelled = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return self.flow_name

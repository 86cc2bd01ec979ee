"""The traces of callers that runs belong to."""

from __future__ import annotations

from django.db import models

from flows.models.run import Run

LONGEST_STATE = 512


class RunTrace(models.Model):
    """The span that a run was started in, as the headers of W3C Trace Context have it.

    In a table of its own, so that runs without one pay for none. Stored only where traces are on.
    """

    run = models.OneToOneField(
        Run, on_delete=models.CASCADE, primary_key=True, db_constraint=False, related_name="+"
    )
    traceparent = models.CharField(max_length=55)
    tracestate = models.CharField(max_length=LONGEST_STATE, default="", blank=True)

    def __str__(self) -> str:
        return f"{self.traceparent} of {self.run_id}"

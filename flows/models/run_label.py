"""The labels of runs: pairs that a caller gives at the start and finds its runs by."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import F

from flows.models.run import Run

MOST_LABELS = 16
LONGEST_KEY = 64
LONGEST_VALUE = 255


class RunLabel(models.Model):
    """One label of a run. In a table of its own, so that a start without labels pays for none."""

    run = models.ForeignKey(
        Run,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="labels",
    )
    key = models.CharField(max_length=LONGEST_KEY)
    value = models.CharField(max_length=LONGEST_VALUE)

    class Meta:
        ordering = ["id"]
        constraints = [
            # Also finds the labels of a run.
            models.UniqueConstraint("run", "key", name="run_label_once"),
        ]
        indexes = [
            # Runs with a label, newest first: a UUIDv7 sorts by time.
            models.Index(F("key"), F("value"), F("run").desc(), name="run_by_label"),
        ]

    def __str__(self) -> str:
        return f"{self.key}:{self.value}"


def label_fault(key: Any, value: Any) -> str:
    """Say what is wrong with a label, "" where nothing is."""
    for name, text, most in (("key", key, LONGEST_KEY), ("value", value, LONGEST_VALUE)):
        if not isinstance(text, str) or not text.isprintable() or not 1 <= len(text) <= most:
            return f"a {name} has 1 to {most} printable characters, not {text!r}"[:200]
    return "a key has no colon" if ":" in key else ""

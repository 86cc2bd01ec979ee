"""What is looked for in the texts of runs: kept apart from them, so that no commit pays for it."""

from __future__ import annotations

from django.db import models

from flows.models.run import Run

# Characters of a payload, a result or an error that are searched.
BEGINNING = 8192


class RunText(models.Model):
    """Texts of one run, as steps got them, gave them and failed: all that is searched at once.

    `flows/tasks/run_texts.py` fills it some time after the steps. A run may have several rows. The
    index that finds a part of a text is made by a migration: trigrams on PostgreSQL, FTS5 on
    SQLite.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, db_constraint=False, related_name="+")
    text = models.TextField(help_text="Payloads, results and errors, a line each.")

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"texts of {self.run_id}"


class RunTextMark(models.Model):
    """The one row that says which step runs are in the texts: those above `first`, up to `last`."""

    first = models.BigIntegerField(default=0)
    last = models.BigIntegerField(default=0)
    # Step runs up to this id were there at that time. A commit may still have added lower ones.
    seen = models.BigIntegerField(default=0)
    seen_at = models.DateTimeField()
    since = models.DateTimeField(null=True, help_text="Null: from the beginning.")
    until = models.DateTimeField(null=True, help_text="Null: none is there yet.")

    def __str__(self) -> str:
        return f"from {self.first} to {self.last}"

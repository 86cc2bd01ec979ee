from __future__ import annotations

from django.db import models


class FlowTotals(models.Model):
    """The totals of a flow. Conservation compares them with the rows of its runs and messages.

    accepted = completed + failed + cancelled + runs with a message.

    The rest says what has been taken out of these totals, so that what happened in a minute is the
    difference of two sums: a purge takes runs out, and a failed run may go on. `letters_made` less
    `letters_decided` is the number of open dead letters.
    """

    flow_name = models.CharField(primary_key=True, max_length=100)
    accepted = models.BigIntegerField(default=0)
    completed = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    cancelled = models.BigIntegerField(default=0)
    reopened = models.BigIntegerField(default=0, db_default=0)
    letters_made = models.BigIntegerField(default=0, db_default=0)
    letters_decided = models.BigIntegerField(default=0, db_default=0)
    purged_completed = models.BigIntegerField(default=0, db_default=0)
    purged_failed = models.BigIntegerField(default=0, db_default=0)
    purged_cancelled = models.BigIntegerField(default=0, db_default=0)

    def __str__(self) -> str:
        return self.flow_name

    @property
    def unfinished(self) -> int:
        return self.accepted - self.completed - self.failed - self.cancelled

    @property
    def open_letters(self) -> int:
        return max(self.letters_made - self.letters_decided, 0)

    def ever(self) -> dict[str, int]:
        """Return how much there was of each event since the flow was made."""
        purged = self.purged_completed + self.purged_failed + self.purged_cancelled
        return {
            "accepted": self.accepted + purged,
            "completed": self.completed + self.purged_completed,
            "failed": self.failed + self.purged_failed + self.reopened,
            "cancelled": self.cancelled + self.purged_cancelled,
            "letters": self.letters_made,
        }

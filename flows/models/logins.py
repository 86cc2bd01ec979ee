from __future__ import annotations

from datetime import datetime, timedelta

from django.db import models
from django.db.models import F, Q

# Failed logins within this time count together: from one address, and at one account.
WITHIN = timedelta(minutes=1)
ACCOUNT_WITHIN = timedelta(minutes=10)
# After a login, the account is known at its address for this time.
KNOWN = timedelta(hours=24)


class LoginCountQuerySet(models.QuerySet["LoginCount"]):
    def overdue(self, now: datetime) -> LoginCountQuerySet:
        """Return the rows that no longer count."""
        unknown = Q(known_at=None) | Q(known_at__lt=now - KNOWN)
        return self.filter(unknown, changed_at__lt=now - max(WITHIN, ACCOUNT_WITHIN))


class LoginCount(models.Model):
    """Failed logins from an address, at an account, or at an account from an address.

    An account need not exist to have rows: each name that a caller tries counts.
    """

    # A digest: a tried name may have any length, and may be a password by mistake.
    key = models.CharField(max_length=64, primary_key=True)
    began_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0)
    known_at = models.DateTimeField(null=True, help_text="Of the last login that succeeded.")
    # The purge deletes rows that no longer count.
    changed_at = models.DateTimeField(auto_now=True)

    objects = LoginCountQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(F("changed_at"), name="login_count_by_change")]

    def __str__(self) -> str:
        return self.key

"""Records logins of staff to the pages, their end, and failed logins, in the audit log.

A failed login is recorded with its name where a user has it. Another name is left out, since it
may be a password that was typed into the wrong field. Calls of the API with a password or a token
are not recorded, only what they do.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from simple_history.models import HistoricalRecords

from flows.access import audit
from flows.access.audit import Source, Target
from flows.models.users import user_named


def connect() -> None:
    user_logged_in.connect(_record_login, dispatch_uid="audit-log-in")
    user_logged_out.connect(_record_logout, dispatch_uid="audit-log-out")


def record_failed_login(name: str) -> None:
    user = user_named(name)
    audit.record("fail to log in", audit.target_of(user) if user else Target("user"))


def _record_login(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    if _is_of_staff(request, user):
        audit.record("log in", user, user=user)


def _record_logout(sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
    if user is not None and _is_of_staff(request, user):
        audit.record("log out", user, user=user)


def _is_of_staff(request: Any, user: Any) -> bool:
    """Say whether the login may be one to these pages: a project has pages of its own, too."""
    if getattr(user, "is_staff", False):
        return True
    current = getattr(HistoricalRecords.context, "request", None)
    return current is not None and audit.source_of(current) == Source.ADMIN

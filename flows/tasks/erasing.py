"""Erase the payloads of many runs: some at once, the others by tasks of django-q2.

A task works for about a second and queues the next. The order needs no row: a task that is lost and
begins again finds the runs that are left.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from django_q.tasks import async_task

from flows.access.rights import runs_operated
from flows.erasure.erasing import Erased, Selection, erase, require_right_to_erase
from flows.errors import FlowError
from flows.models.users import all_users

logger = logging.getLogger(__name__)

SLICE_SECONDS = 1.0


def erase_many(selection: Selection, *, user: Any, reason: str = "") -> Erased:
    """Erase what the user may erase, and return after a second or so. Tasks erase the rest.

    Raises RunNotFinished and RightMissing before anything is erased.
    """
    runs = runs_operated(user)
    require_right_to_erase(selection, runs, user)
    erased = erase(selection, runs, user=user, reason=reason, seconds=SLICE_SECONDS)
    if not erased.is_complete:
        run = str(selection.run) if selection.run else None
        given = (run, selection.label, user.pk, reason)
        async_task("flows.tasks.erasing.go_on", *given, task_name="erase payloads", save=False)
    return erased


def go_on(run: str | None, label: tuple[str, str] | None, user_key: Any, reason: str) -> None:
    """Erase further runs. This is the function of the django-q2 task."""
    user = all_users().filter(pk=user_key).first()
    if user is None:
        return
    selection = Selection(UUID(run) if run else None, tuple(label) if label else None)  # type: ignore[arg-type]
    try:
        erase_many(selection, user=user, reason=reason)
    except FlowError as error:
        logger.warning(
            "Payloads of the %s are left, because they cannot be erased: %s", selection, error
        )

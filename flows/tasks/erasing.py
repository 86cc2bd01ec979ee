"""Erase the payloads of many runs: some at once, the others by tasks of django-q2.

A task works for about a second and queues the next. The order needs no row: a task that is lost and
begins again finds the runs that are left.
"""

from __future__ import annotations

import logging
import time
from typing import Any
from uuid import UUID

from django_q.tasks import async_task

from flows.access.rights import runs_operated
from flows.archive.files import files, folder, order_of
from flows.archive.reading import erase_in
from flows.erasure.erasing import Erased, Selection, erase, require_right_to_erase
from flows.errors import FlowError
from flows.models import Run
from flows.models.users import all_users

logger = logging.getLogger(__name__)

SLICE_SECONDS = 1.0


def erase_many(
    selection: Selection, *, user: Any, reason: str = "", newest: UUID | None = None
) -> Erased:
    """Erase what the user may erase, and return after a second or so. Tasks erase the rest.

    Runs that are started later than the newest one are not part of it, unless they repeat others.
    Raises RunNotFinished and RightMissing before anything is erased.
    """
    runs = runs_operated(user)
    newest = newest or Run.objects.order_by("-pk").values_list("pk", flat=True).first()
    if newest:
        runs = runs.filter(pk__lte=newest)
    require_right_to_erase(selection, runs, user)
    erased = erase(selection, runs, user=user, reason=reason, seconds=SLICE_SECONDS)
    if not erased.is_complete or not erased.is_forgotten:
        _queue("go_on", selection, user.pk, reason, str(newest))
    elif folder() is not None:
        _queue("erase_archive", selection, user.pk, reason)
    return erased


def _queue(task: str, selection: Selection, user_key: Any, reason: str, *more: str) -> None:
    run = str(selection.run) if selection.run else None
    given = (run, selection.label, user_key, reason, *more)
    async_task(f"flows.tasks.erasing.{task}", *given, task_name="erase payloads", save=False)


def go_on(
    run: str | None, label: tuple[str, str] | None, user_key: Any, reason: str, newest: str = ""
) -> None:
    """Erase further runs. This is the function of the django-q2 task."""
    user = all_users().filter(pk=user_key).first()
    if user is None:
        return
    selection = _selection(run, label)
    try:
        erase_many(selection, user=user, reason=reason, newest=UUID(newest) if newest else None)
    except FlowError as error:
        logger.warning(
            "Payloads of the %s are left, because they cannot be erased: %s", selection, error
        )


def erase_archive(
    run: str | None, label: tuple[str, str] | None, user_key: Any, reason: str, last: str = ""
) -> None:
    """Erase in the archive what was erased here. This is the function of the django-q2 task.

    It is the runs that are here and erased: what only the archive has needs the command `erase`.
    A task works on at least one file, those behind the `last` one that was looked at.
    """
    user = all_users().filter(pk=user_key).first()
    if user is None:
        return
    selection, root = _selection(run, label), folder()
    if root is None:
        return
    ids = {*selection.among(runs_operated(user))}
    if selection.run:
        # It may have been purged since.
        ids.add(selection.run)
    ends_at = time.monotonic() + SLICE_SECONDS
    left = [path for path in files() if not last or order_of(path) > order_of(root / last)]
    for number, path in enumerate(left, start=1):
        try:
            erase_in(path, ids, str(selection), user=user, reason=reason)
        except OSError as error:
            logger.error("Runs of the %s in %s are not erased: %s", selection, path, error)
        if number < len(left) and time.monotonic() >= ends_at:
            # The engine's other tasks go between.
            looked_at = str(path.relative_to(root))
            _queue("erase_archive", selection, user_key, reason, looked_at)
            return


def _selection(run: str | None, label: tuple[str, str] | None) -> Selection:
    return Selection(UUID(run) if run else None, (label[0], label[1]) if label else None)

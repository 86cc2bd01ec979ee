"""Read the archive, and erase runs in it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from flows.access import audit
from flows.archive.encrypting import opened, readable
from flows.archive.files import all_lines_of, files, is_whole, lines_of, rewrite
from flows.archive.record import document_of, erased
from flows.errors import PayloadUnreadable

if TYPE_CHECKING:
    from flows.access.rights import Caller

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A run in the archive: what its line says of it, and the line."""

    document: dict[str, Any]
    line: bytes


def read(
    flow_name: str | None = None,
    run_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[Found]:
    """Yield archived runs of a flow, with an id, or that ended in a time; each of them once.

    Raises PayloadUnreadable.
    """
    seen: set[bytes] = set()
    for path in files(flow_name):
        for line in lines_of(path):
            document = readable(line)
            id = UUID(document["correlationId"])
            if id.bytes in seen or run_id not in (None, id):
                continue
            # A kill between writing and deleting leaves a run twice.
            seen.add(id.bytes)
            ended = datetime.fromisoformat(document["finishedAt"])
            if (since is None or ended >= since) and (until is None or ended < until):
                yield Found(document, opened(line))


def archived_relatives(ids: Collection[UUID], label: tuple[str, str] | None) -> set[UUID]:
    """Return the archived runs that are meant: with the ids or the label, and their relatives."""
    found, size = {str(id) for id in ids}, -1
    while len(found) != size:
        size = len(found)
        for document in (readable(line) for path in files() for line in lines_of(path)):
            has_label = label is not None and document["labels"].get(label[0]) == label[1]
            near = {document["correlationId"], document["parent"], document["repeats"]}
            if has_label or near & found:
                found.add(document["correlationId"])
            if document["correlationId"] in found and document["repeats"]:
                found.add(document["repeats"])
    return {UUID(id) for id in found}


def count_archived(ids: Collection[UUID]) -> int:
    """Return how many lines of the archive have payloads of these runs.

    Raises OSError where a file is damaged.
    """
    return sum(_lines_to_erase(path, ids) for path in files())


def erase_archived(
    ids: Collection[UUID], asked: str, *, user: Caller | None = None, reason: str = ""
) -> int:
    """Erase runs in the archive; return of how many lines.

    Raises OSError behind the last file where one could not be written anew.
    """
    total, failures = 0, list[OSError]()
    for path in files():
        try:
            total += erase_in(path, ids, asked, user=user, reason=reason)
        except OSError as error:
            logger.error("Runs in %s are not erased: %s", path, error)
            failures.append(error)
    for first in failures:
        raise first
    return total


def erase_in(
    path: Path, ids: Collection[UUID], asked: str, *, user: Caller | None = None, reason: str = ""
) -> int:
    """Erase runs in a file; return of how many lines. The audit log has an entry.

    Raises OSError.
    """
    wanted, now = {str(id) for id in ids}, timezone.now()

    def change(line: bytes) -> bytes:
        document = readable(line)
        if document["correlationId"] in wanted and not document["erasedAt"]:
            return erased(_whole(line), now)
        return line

    count = _lines_to_erase(path, ids)
    if count:
        # Before the file: a kill between them leaves a second entry, never none.
        with transaction.atomic():
            target = audit.Target("archive", str(Path(path.parent.name) / path.name))
            after = {"asked": asked, "archived": count}
            audit.record("erase", target, after=after, user=user, reason=reason)
    # The part of a line that a kill has left at the end may be of any of the runs.
    if count or not is_whole(path):
        rewrite(path, change)
    return count


def _lines_to_erase(path: Path, ids: Collection[UUID]) -> int:
    wanted = {str(id) for id in ids}
    # A damaged file raises: what is behind the damage may be of any of the runs.
    documents = map(readable, all_lines_of(path))
    return sum(each["correlationId"] in wanted and not each["erasedAt"] for each in documents)


def _whole(line: bytes) -> dict[str, Any]:
    """Return what a line says of its run; of one that no key decrypts, what it says without."""
    try:
        return document_of(opened(line))
    except PayloadUnreadable:
        return readable(line)

"""Read the archive, and erase runs in it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from django.db import transaction
from django.utils import timezone

from flows.access import audit
from flows.archive.files import files, lines_of, rewrite
from flows.archive.record import erased

if TYPE_CHECKING:
    from flows.access.rights import Caller


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
    """Yield archived runs of a flow, with an id, or that ended in a time; each of them once."""
    seen: set[bytes] = set()
    for path in files(flow_name):
        for line in lines_of(path):
            document = orjson.loads(line)
            id = UUID(document["correlationId"])
            if id.bytes in seen or run_id not in (None, id):
                continue
            # A kill between writing and deleting leaves a run twice.
            seen.add(id.bytes)
            ended = datetime.fromisoformat(document["finishedAt"])
            if (since is None or ended >= since) and (until is None or ended < until):
                yield Found(document, line)


def archived_relatives(ids: Collection[UUID], label: tuple[str, str] | None) -> set[UUID]:
    """Return the archived runs that are meant: with the ids or the label, and their relatives."""
    found, size = {str(id) for id in ids}, -1
    while len(found) != size:
        size = len(found)
        for each in read():
            document = each.document
            has_label = label is not None and document["labels"].get(label[0]) == label[1]
            near = {document["correlationId"], document["parent"], document["repeats"]}
            if has_label or near & found:
                found.add(document["correlationId"])
            if document["correlationId"] in found and document["repeats"]:
                found.add(document["repeats"])
    return {UUID(id) for id in found}


def count_archived(ids: Collection[UUID]) -> int:
    """Return how many lines of the archive have payloads of these runs."""
    return sum(_lines_to_erase(path, ids) for path in files())


def erase_archived(
    ids: Collection[UUID], asked: str, *, user: Caller | None = None, reason: str = ""
) -> int:
    """Erase runs in the archive; return of how many lines. The audit log has each file."""
    wanted, now, total = {str(id) for id in ids}, timezone.now(), 0

    def change(line: bytes) -> bytes:
        document = orjson.loads(line)
        if document["correlationId"] in wanted and not document["erasedAt"]:
            return erased(document, now)
        return line

    for path in files():
        if count := _lines_to_erase(path, ids):
            # Before the file: a kill between them leaves a second entry, never none.
            with transaction.atomic():
                target = audit.Target("archive", str(Path(path.parent.name) / path.name))
                after = {"asked": asked, "archived": count}
                audit.record("erase", target, after=after, user=user, reason=reason)
            rewrite(path, change)
            total += count
    return total


def _lines_to_erase(path: Path, ids: Collection[UUID]) -> int:
    wanted = {str(id) for id in ids}
    documents = map(orjson.loads, lines_of(path))
    return sum(each["correlationId"] in wanted and not each["erasedAt"] for each in documents)

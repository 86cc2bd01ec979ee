"""The audit log as CSV and as JSON, one entry a line. It is read in batches."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from flows.models import AuditEntry

BATCH = 1_000
COLUMNS = (
    "id",
    "time",
    "who",
    "whoId",
    "from",
    "address",
    "what",
    "kind",
    "name",
    "targetId",
    "before",
    "after",
    "reason",
)
# Spreadsheets take a cell that begins so for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _Line:
    """What `csv.writer` writes to: it keeps the line."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def csv_lines(entries: QuerySet[AuditEntry]) -> Iterator[str]:
    line = _Line()
    writer = csv.writer(line)
    writer.writerow(COLUMNS)
    yield line.text
    for entry in _each(entries):
        writer.writerow([_cell(value) for value in _document(entry).values()])
        yield line.text


def json_lines(entries: QuerySet[AuditEntry]) -> Iterator[str]:
    for entry in _each(entries):
        yield f"{json.dumps(_document(entry), ensure_ascii=False)}\n"


def _each(entries: QuerySet[AuditEntry]) -> Iterator[AuditEntry]:
    """Yield the entries, the newest first. Batches by the key need no cursor of the database."""
    entries = entries.order_by("-id")
    batch = list(entries[:BATCH])
    while batch:
        yield from batch
        batch = list(entries.filter(pk__lt=batch[-1].pk)[:BATCH])


def _document(entry: AuditEntry) -> dict[str, Any]:
    values = (
        entry.pk,
        entry.at.isoformat(),
        entry.actor,
        entry.actor_id,
        entry.source,
        entry.address,
        entry.verb,
        entry.kind,
        entry.name,
        entry.target_id,
        entry.before,
        entry.after,
        entry.reason,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value

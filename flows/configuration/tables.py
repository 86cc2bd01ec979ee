"""Reference tables in a document: what identifies their files, and the files of a directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.db.models import OuterRef, Subquery

from flows.configuration.entry import Entry
from flows.configuration.faults import Faults, quoted
from scripts.models import ReferenceTable, TableContent, TableVersion
from scripts.services.table_storing import ReadTable, file_of, store_read
from scripts.tables.reading import TableInvalid

_PIECE = 256 * 1024


class FileOfDirectory(str):
    """The name of a file of a directory that is imported. A document by itself has none."""

    path: Path


def table_entries() -> dict[str, dict[str, Any]]:
    """Return the tables that have a file, by name, with what identifies it."""
    of_table = TableVersion.objects.filter(table=OuterRef("pk")).order_by("-number")
    latest = ReferenceTable.objects.values_list(Subquery(of_table.values("pk")[:1]))
    versions = TableVersion.objects.filter(pk__in=latest).select_related("table", "content")
    entries = {each.table.name: _entry(each.table, each.content) for each in versions}
    return dict(sorted(entries.items()))


def stored_file(entry: dict[str, Any]) -> Iterator[bytes]:
    """Yield the bytes of an exported table."""
    content = TableContent.objects.filter(
        digest=entry["digest"], format=entry["format"], key=entry.get("key", "")
    )
    return file_of(content.get())


class TableImport:
    """The tables of a document: their files are read first, and stored with all else."""

    def __init__(self, entries: dict[str, Entry], faults: Faults) -> None:
        self._entries = entries
        self._faults = faults
        self._read: dict[str, ReadTable] = {}
        self._stack = ExitStack()
        self.warnings: list[str] = []

    def __enter__(self) -> TableImport:
        """Read the files, which may take seconds. Faults are added."""
        with ExitStack() as stack:
            for name, entry in self._entries.items():
                if "file" in entry.values:
                    self._read_file(name, entry, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def apply(self) -> None:
        """Store the files. Tables without one must be here, or there is a warning."""
        for name, entry in self._entries.items():
            table = ReferenceTable.objects.filter(name=name).first()
            if name in self._read:
                table = table or ReferenceTable(name=name)
                self._describe(table, entry)
                store_read(table, self._read[name])
            elif table is None or not _is_same(table, entry):
                shown = entry.values["digest"][:12]
                self.warnings.append(
                    f"{entry.place}: the table {quoted(name)} has another file here, or none;"
                    f" that of the document has the SHA-256 {shown}…"
                )
            else:
                self._describe(table, entry)

    def _describe(self, table: ReferenceTable, entry: Entry) -> None:
        description = entry.values.get("description", "")
        if table.description != description or table.pk is None:
            table.description = description
            table.save()

    def _read_file(self, name: str, entry: Entry, stack: ExitStack) -> None:
        values = entry.values
        file = values["file"]
        if not isinstance(file, FileOfDirectory):
            self._faults.add(entry.at("file"), "is read from a directory alone")
            return
        try:
            read = ReadTable(_pieces(file.path), values["format"], values.get("key", ""))
        except TableInvalid as error:
            self._faults.add(entry.at("file"), f"{file}: {error}")
            return
        except OSError as error:
            self._faults.add(entry.at("file"), f"{file}: {error.strerror}")
            return
        stack.enter_context(read)
        if "digest" in values and values["digest"] != read.digest:
            self._faults.add(entry.at("digest"), f"{file} has the SHA-256 {read.digest}")
        self._read[name] = read


def _entry(table: ReferenceTable, content: TableContent) -> dict[str, Any]:
    entry = {"name": table.name, "format": content.format, "digest": content.digest}
    if content.key:
        entry["key"] = content.key
    if table.description:
        entry["description"] = table.description
    return entry


def _is_same(table: ReferenceTable, entry: Entry) -> bool:
    latest = table.latest()
    if latest is None:
        return False
    content, values = latest.content, entry.values
    wanted = (values["format"], values.get("key", ""), values.get("digest", content.digest))
    return wanted == (content.format, content.key, content.digest)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece

"""Takes in the files of tables, and gives them out again, in the database."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, BinaryIO

from django.db import transaction

from scripts.models import (
    ReferenceTable,
    TableContent,
    TablePiece,
    TableVersion,
    with_next_number,
)
from scripts.services.tables import table_directory
from scripts.tables.building import build
from scripts.tables.reading import FORMATS, TableInvalid, read_rows

_PIECE_BYTES = 512 * 1024
# The versions of a table that are kept; each may have 50 MB.
MAX_VERSIONS = 20


def format_of(file_name: str) -> str:
    """Return the format by the end of a name. Raises TableInvalid."""
    ending = file_name.lower().rpartition(".")[2]
    if ending in ("csv", "tsv", "txt"):
        return "csv"
    if ending in FORMATS:
        return ending
    raise TableInvalid(f"{file_name} is neither .csv nor .json.")


class ReadTable:
    """A file that was read and found to be a table, with a copy of it."""

    def __init__(self, pieces: Iterable[bytes], form: str, key: str) -> None:
        """Read the file and make the one that hosts map. Raises TableInvalid."""
        self.copy = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self.form, self.key = form, key
        digest = sha256()
        try:
            with table_directory().draft() as draft:
                rows = read_rows(_copied(pieces, self.copy, digest), form, key)
                self.facts = build(rows, draft.file)
                self.size = self.copy.tell()
                self.digest = digest.hexdigest()
                self.identity = identity_of(form, key, self.digest)
                table_directory().keep(draft, self.identity)
        except BaseException:
            self.copy.close()
            raise

    def close(self) -> None:
        self.copy.close()

    def __enter__(self) -> ReadTable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def store(
    table: ReferenceTable, pieces: Iterable[bytes], form: str, key: str = "", author: Any = None
) -> TableVersion:
    """Make a file the newest version of a table, or return that where the file is the same.

    The table may be a new one that is not saved yet. Memory does not grow with the file. Raises
    TableInvalid, with nothing stored.
    """
    with ReadTable(pieces, form, key) as read:
        return store_read(table, read, author)


def store_read(table: ReferenceTable, read: ReadTable, author: Any = None) -> TableVersion:
    """Store what was read as the newest version of a table."""
    with transaction.atomic():
        if table.pk is None:
            table.save()
        return _version(table, _content(read), author)


def restore(version: TableVersion, author: Any = None) -> TableVersion:
    """Make the content of an older version the newest one's."""
    with transaction.atomic():
        return _version(version.table, version.content, author)


def file_of(content: TableContent) -> Iterator[bytes]:
    """Yield the bytes of the file, some at a time."""
    for position in range(content.pieces.count()):
        piece = content.pieces.get(position=position)
        yield zlib.decompress(bytes(piece.compressed))


def identity_of(form: str, key: str, digest: str) -> str:
    return sha256(f"{form}\0{key}\0{digest}".encode()).hexdigest()


def _copied(pieces: Iterable[bytes], copy: BinaryIO, digest: Any) -> Iterator[bytes]:
    for piece in pieces:
        copy.write(piece)
        digest.update(piece)
        yield piece


def _content(read: ReadTable) -> TableContent:
    # Locked, so that no other process deletes it as unused.
    rows = TableContent.objects.select_for_update()
    found = rows.filter(identity=read.identity).first()
    if found is not None:
        return found
    columns = read.facts.columns
    content = TableContent.objects.create(
        identity=read.identity,
        digest=read.digest,
        format=read.form,
        key=read.key,
        columns=None if columns is None else list(columns),
        size=read.size,
        rows=read.facts.rows,
    )
    read.copy.seek(0)
    position = 0
    while piece := read.copy.read(_PIECE_BYTES):
        compressed = zlib.compress(piece)
        TablePiece.objects.create(content=content, position=position, compressed=compressed)
        position += 1
    return content


def _version(table: ReferenceTable, content: TableContent, author: Any) -> TableVersion:
    latest = table.latest()
    if latest is not None and latest.content_id == content.pk:
        return latest
    made = with_next_number(lambda: _next_version(table, content, author))
    _delete_old(table, made)
    table.extra_changes = {"version": (_described(latest), _described(made))}
    # Recorded as a change of the table.
    table.save()
    return made


def _next_version(table: ReferenceTable, content: TableContent, author: Any) -> TableVersion:
    last = table.versions.order_by("number").values_list("number", flat=True).last()
    return TableVersion.objects.create(
        table=table, number=(last or 0) + 1, content=content, author=author
    )


def _described(version: TableVersion | None) -> list[str]:
    if version is None:
        return []
    content = version.content
    return [f"v{version.number}: {content.rows} rows, SHA-256 {content.digest[:12]}"]


def _delete_old(table: ReferenceTable, newest: TableVersion) -> None:
    table.versions.filter(number__lte=newest.number - MAX_VERSIONS).delete()
    delete_unused_contents()


def delete_unused_contents() -> None:
    """Delete the contents that no version has any more."""
    TableContent.objects.filter(versions=None).delete()

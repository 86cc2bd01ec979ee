from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from scripts.checks import ENGINE
from scripts.models import ReferenceTable, Script
from scripts.services.table_storing import file_of, format_of, restore, store
from scripts.tables.reading import FORMATS, TableInvalid

_PIECE = 256 * 1024


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = "Shows and stores reference tables, which scripts read by context.table."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        verbs.add_parser("list", help="Print names, versions, rows and digests.")
        change = verbs.add_parser("set", help="Store a file as a new version of a table.")
        change.add_argument("name", metavar="NAME")
        change.add_argument("file", metavar="FILE|-", help="CSV or JSON, 50 MB at most.")
        change.add_argument(
            "--key", default="", help="The column, or the member of each object, with the keys."
        )
        change.add_argument("--format", choices=FORMATS, help="Default: by the file's name.")
        change.add_argument("--description", metavar="TEXT", help="What it has.")
        get = verbs.add_parser("get", help="Print the file of a table.")
        get.add_argument("name", metavar="NAME")
        get.add_argument("--number", type=int, help="Of an older version.")
        back = verbs.add_parser("restore", help="Make an older version the newest.")
        back.add_argument("name", metavar="NAME")
        back.add_argument("number", type=int)
        verbs.add_parser("delete", help="Delete a table.").add_argument("name", metavar="NAME")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, f"_{options['verb']}")(options)

    def _list(self, options: dict[str, Any]) -> None:
        for table in ReferenceTable.objects.all():
            if latest := table.latest():
                content = latest.content
                self.stdout.write(
                    f"{table.name} v{latest.number} {content.rows} rows {content.digest}"
                )

    def _set(self, options: dict[str, Any]) -> None:
        name, file = options["name"], options["file"]
        table = ReferenceTable.objects.filter(name=name).first() or ReferenceTable(name=name)
        if options["description"] is not None:
            table.description = options["description"]
        try:
            form = options["format"] or format_of(file)
            table.full_clean()
            version = store(table, _pieces(file), form, options["key"])
        except (TableInvalid, ValidationError) as error:
            raise CommandError("; ".join(getattr(error, "messages", [str(error)]))) from error
        except OSError as error:
            raise CommandError(f"Cannot read {file}: {error}") from error
        rows = version.content.rows
        self.stdout.write(f"{version} has {rows} rows; running workers see it within 5 s.")

    def _get(self, options: dict[str, Any]) -> None:
        self.stdout.flush()
        for piece in file_of(self._version(options).content):
            sys.stdout.buffer.write(piece)

    def _restore(self, options: dict[str, Any]) -> None:
        self.stdout.write(f"The newest version is {restore(self._version(options))}.")

    def _delete(self, options: dict[str, Any]) -> None:
        table = self._table(options)
        used = [each.name for each in Script.objects.order_by("name") if table.name in each.tables]
        table.delete()
        told = f" Scripts that list it: {', '.join(used)}." if used else ""
        self.stdout.write(f"The table {table.name} is deleted.{told}")

    def _version(self, options: dict[str, Any]) -> Any:
        table, number = self._table(options), options["number"]
        found = table.versions.filter(number=number).first() if number else table.latest()
        if found is None:
            raise CommandError(f"The table {table.name!r} has no such version.")
        return found

    def _table(self, options: dict[str, Any]) -> ReferenceTable:
        table = ReferenceTable.objects.filter(name=options["name"]).first()
        if table is None:
            raise CommandError(f"There is no table {options['name']!r}.")
        return table


def _pieces(name: str) -> Iterator[bytes]:
    if name == "-":
        yield from _read(sys.stdin.buffer)
    else:
        with Path(name).open("rb") as file:
            yield from _read(file)


def _read(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece

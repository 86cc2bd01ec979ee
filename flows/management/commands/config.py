from __future__ import annotations

import sys
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from flows.configuration import (
    ConfigurationInvalid,
    export_configuration,
    import_configuration,
    read_document,
    write_document,
)

_IMPORT_HELP = """\
Make the configuration what the document says, all of it or nothing.

The document says all about what it names: a key that is left out stands for its default, for what
exists already too. A flow's steps and a role's rights are replaced. What the document does not
name stays; with --prune it is removed, where the document has the section (libraries, scripts,
queues, flows, rbac) it belongs to. What is in use cannot be removed: a queue with messages, a flow
with unfinished runs.

A script may name secrets that are not there: secrets are never in a document, and the script fails
with their name until somebody enters them.

The original product's flow array and its rbac.config are read as well."""


class Command(BaseCommand):
    help = "Writes the whole configuration as one JSON document, or reads it."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="export|import")
        export = actions.add_parser("export", help="write the whole configuration")
        export.add_argument("file", nargs="?", default="-", metavar="FILE", help="else to stdout")
        import_ = actions.add_parser(
            "import",
            help="make the configuration what a document says",
            description=_IMPORT_HELP,
            formatter_class=RawDescriptionHelpFormatter,
        )
        import_.add_argument("file", metavar="FILE", help="the document; - reads stdin")
        import_.add_argument(
            "--dry-run", action="store_true", help="print what would change and store nothing"
        )
        import_.add_argument(
            "--prune", action="store_true", help="remove what the document does not name"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["action"] == "export":
                self._export(options["file"])
            else:
                self._import(options["file"], options["dry_run"], options["prune"])
        except ConfigurationInvalid as error:
            raise CommandError(f"nothing was changed:\n{error}") from error
        except DatabaseError as error:
            raise CommandError(
                f"nothing was changed, the database says: {str(error).strip()}\n"
                "If it is new, run: python manage.py migrate"
            ) from error
        except OSError as error:
            raise CommandError(f"{error.filename or options['file']}: {error.strerror}") from error

    def _export(self, file: str) -> None:
        text = write_document(export_configuration())
        if file == "-":
            self.stdout.write(text, ending="")
        else:
            Path(file).write_text(text, encoding="utf-8", newline="\n")

    def _import(self, file: str, dry_run: bool, prune: bool) -> None:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        changes = import_configuration(read_document(raw), dry_run=dry_run, prune=prune)
        for warning in changes.warnings:
            self.stderr.write(self.style.WARNING(f"warning: {warning}"))
        self.stdout.write(str(changes))

from __future__ import annotations

import sys
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from flows.configuration import (
    Changes,
    ConfigurationInvalid,
    check_document,
    export_configuration,
    import_configuration,
    read_directory,
    read_document,
    schema_text,
    write_directory,
    write_document,
)
from flows.errors import CommitInDoubt
from scripts.checks import ENGINE

# The exit code of --check, as that of `terraform plan -detailed-exitcode`.
WOULD_CHANGE = 2

_IMPORT_HELP = """\
Apply a document to the configuration, all of it or nothing.

The document is complete for each object that it names: a missing key means its default, also for
an object that exists. A flow's steps and a role's rights are replaced. Objects that the document
does not name stay. With --prune they are removed, if the document has their section (libraries,
scripts, queues, flows, rbac, alertTargets). A queue with messages and a flow with unfinished runs
cannot be removed.

Secrets are never in a document. A script may name secrets that do not exist yet; it fails with
their name until they are entered.

The original product's flow array and its rbac.config are read as well."""


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = "Writes the whole configuration as one JSON document, or reads it."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(
            dest="action", required=True, metavar="export|import|schema"
        )
        export = actions.add_parser("export", help="write the whole configuration")
        export.add_argument("file", nargs="?", default="-", metavar="FILE", help="else to stdout")
        export.add_argument(
            "--directory",
            metavar="DIRECTORY",
            help="write the document and the code of scripts and libraries into files there",
        )
        actions.add_parser("schema", help="write the document's JSON Schema to stdout")
        import_ = actions.add_parser(
            "import",
            help="apply a document to the configuration",
            description=_IMPORT_HELP,
            formatter_class=RawDescriptionHelpFormatter,
        )
        import_.add_argument(
            "file", metavar="FILE", help="the document or its directory; - reads stdin"
        )
        import_.add_argument(
            "--check",
            action="store_true",
            help="as --dry-run, with exit code 2 where something would change; without a database"
            " it checks the document alone",
        )
        import_.add_argument(
            "--dry-run", action="store_true", help="print what would change and store nothing"
        )
        import_.add_argument(
            "--prune", action="store_true", help="remove what the document does not name"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["action"] == "schema":
                self.stdout.write(schema_text(), ending="")
            elif options["action"] == "export":
                self._export(options["file"], options["directory"])
            elif options["check"]:
                self._check(read(options["file"]), options["prune"])
            else:
                self._import(read(options["file"]), options["dry_run"], options["prune"])
        except ConfigurationInvalid as error:
            raise CommandError(f"nothing was changed:\n{error}") from error
        except CommitInDoubt as error:
            raise CommandError(
                f"{error}\nRepeat the command: where it has happened, there is nothing to change."
            ) from error
        except DatabaseError as error:
            raise CommandError(
                f"nothing was changed, the database says: {str(error).strip()}\n"
                "If it is new, run: python manage.py migrate"
            ) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandError(f"{error.filename or options['file']}: {error.strerror}") from error

    def _export(self, file: str, directory: str | None) -> None:
        if directory is not None:
            if file != "-":
                raise CommandError("give a FILE or --directory, not both")
            write_directory(export_configuration(), Path(directory))
            return
        text = write_document(export_configuration())
        if file == "-":
            self.stdout.write(text, ending="")
        else:
            Path(file).write_text(text, encoding="utf-8", newline="\n")

    def _import(self, document: Any, dry_run: bool, prune: bool) -> Changes:
        changes = import_configuration(document, dry_run=dry_run, prune=prune)
        self._warn(changes.warnings)
        self.stdout.write(str(changes))
        return changes

    def _check(self, document: Any, prune: bool) -> None:
        try:
            changes = self._import(document, dry_run=True, prune=prune)
        except DatabaseError as error:
            self._warn(check_document(document))
            reason = str(error).strip().splitlines()[0]
            self.stdout.write(f"The document is valid. What it would change is not known: {reason}")
            return
        if changes.items:
            raise SystemExit(WOULD_CHANGE)

    def _warn(self, warnings: list[str]) -> None:
        for warning in warnings:
            self.stderr.write(self.style.WARNING(f"warning: {warning}"))


def read(file: str) -> Any:
    """Return the document of a file, of a directory or, with `-`, of stdin."""
    if file == "-":
        return read_document(sys.stdin.buffer.read())
    path = Path(file)
    return read_directory(path) if path.is_dir() else read_document(path.read_bytes())

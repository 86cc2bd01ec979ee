from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from flows.archive.files import files, folder
from flows.archive.reading import read
from flows.errors import PayloadUnreadable
from scripts.checks import ENGINE


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = "Lists or reads what was purged and is in the archive."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="Print the files, with their sizes in bytes.")
        reading = verbs.add_parser("read", help="Print the runs, a JSON object a line.")
        for verb in (listing, reading):
            verb.add_argument("--flow", metavar="NAME", help="Of this flow alone.")
        reading.add_argument("--correlation-id", metavar="ID", type=UUID, help="This run alone.")
        reading.add_argument(
            "--from", dest="since", metavar="TIME", type=_time, help="Ended then or later."
        )
        reading.add_argument(
            "--to", dest="until", metavar="TIME", type=_time, help="Ended earlier."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if folder() is None:
            raise CommandError("ASYNCENGINE_ARCHIVE_DIR is not set: there is no archive.")
        chosen = (options.get(name) for name in ("flow", "correlation_id", "since", "until"))
        try:
            if options["verb"] == "list":
                for path in files(options["flow"]):
                    self.stdout.write(f"{path}  {path.stat().st_size}")
                return
            for each in read(*chosen):
                self.stdout.write(each.line.decode(), ending="")
        except BrokenPipeError:
            raise
        except (PayloadUnreadable, OSError) as error:
            raise CommandError(str(error)) from error


def _time(text: str) -> datetime:
    """Return a time; one without a zone is in UTC. Raises ValueError."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)

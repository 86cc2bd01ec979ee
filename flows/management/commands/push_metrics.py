from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import close_old_connections

from flows.store.troubles import DATABASE_ERRORS
from flows.tasks.metrics import registry


class Command(BaseCommand):
    help = (
        "Push the metrics by OTLP to OTEL_EXPORTER_OTLP_ENDPOINT: once, or with --every until it is"
        " stopped. One such process is enough for an installation."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--every", type=float, metavar="SECONDS", help="go on until stopped")

    def handle(self, *, every: float | None, **options: Any) -> None:
        try:
            from flows.tasks.otlp import Pusher
        except ImportError as error:
            raise CommandError(
                f"pip install 'asyncengine[otel]' first: {error.name} is missing."
            ) from error
        if every is not None and every < 1:
            raise CommandError("--every takes a second or more.")
        pusher = Pusher()
        if every is None:
            if not pusher.push(registry().collect()):
                raise CommandError("The metrics were not taken; the log says why.")
            return
        while True:
            try:
                pusher.push(registry().collect())
            except DATABASE_ERRORS as error:
                self.stderr.write(f"The database cannot be read: {error}")
            close_old_connections()
            time.sleep(every)

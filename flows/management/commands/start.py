from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from django.core.management.base import BaseCommand, CommandError

from flows import engine
from flows.errors import (
    CommitInDoubt,
    FlowError,
    OptionInvalid,
    PayloadInvalid,
    PayloadUnreadable,
)
from flows.models import Run
from flows.models.webhook_url import url_fault
from flows.monitoring.progress import ProgressLines
from flows.monitoring.trace import trace_json, wait_until_finished
from flows.options import BatchOptions, read_labels, read_time_or_seconds
from flows.store.troubles import DATABASE_ERRORS
from scripts.checks import ENGINE
from scripts.protocol.json_text import items_of

CHUNK = 500


class Command(BaseCommand):
    requires_system_checks = (ENGINE,)
    help = "Start a run of a flow; a JSON array or NDJSON from a file starts one for each element."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("flow", metavar="FLOW")
        parser.add_argument(
            "--payload",
            default="{}",
            metavar="JSON|@FILE|-",
            help="The payload, a file with it, or - for standard input. Default: {}",
        )
        parser.add_argument(
            "--wait",
            type=float,
            metavar="SECONDS",
            help="Wait for the end and print the finished run as JSON; meanwhile its progress.",
        )
        parser.add_argument(
            "--idempotency-key",
            metavar="K",
            help="The same key and payload within a day give the same run.",
        )
        parser.add_argument(
            "--label",
            action="append",
            default=[],
            metavar="KEY:VALUE",
            help="A label of each run that is started. It may be given several times.",
        )
        parser.add_argument(
            "--deadline",
            metavar="TIME|SECONDS",
            help="A run that has not ended by then is cancelled.",
        )
        parser.add_argument(
            "--callback-url", metavar="URL", help="An address that is told the end of each run."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        wait, key = options["wait"], options["idempotency_key"]
        # Before anything is started.
        if wait is not None and not 0 <= wait < inf:
            raise CommandError("--wait must be a number of seconds, 0 or more.")
        if key is not None and not engine.is_idempotency_key(key):
            raise CommandError(
                "--idempotency-key must be 1 to 255 printable ASCII characters without a comma."
            )
        asked = _options(options["label"], options["deadline"], options["callback_url"])
        payloads = _payloads(options["payload"])
        if isinstance(payloads, bytes):
            try:
                started = engine.start(options["flow"], payloads, idempotency_key=key, **asked)
            except FlowError as error:
                raise CommandError(_explained(error)) from error
            ids = iter([started.correlation_id])
        elif key:
            raise CommandError("--idempotency-key goes with a single payload.")
        else:
            ids = _start_each(options["flow"], payloads, asked)
        if wait is None:
            for correlation_id in ids:
                self.stdout.write(str(correlation_id))
        else:
            self._report(self._gathered(ids), wait)

    def _gathered(self, ids: Iterator[UUID]) -> list[UUID]:
        """Return the ids of all runs. Where not all are started, those that are get printed."""
        started: list[UUID] = []
        try:
            started.extend(ids)
        except CommandError:
            # The standard output is for finished runs alone.
            for correlation_id in started:
                self.stderr.write(f"Started: {correlation_id}", self.style.NOTICE)
            raise
        return started

    def _report(self, ids: list[UUID], seconds: float) -> None:
        """Print the runs as JSON, several of them a line each."""
        deadline = time.monotonic() + seconds
        statuses = [self._report_one(id, deadline, indent=len(ids) == 1) for id in ids]
        failed, cancelled = map(statuses.count, (Run.Status.FAILED, Run.Status.CANCELLED))
        unfinished = sum(status not in Run.FINISHED for status in statuses)
        if unfinished:
            raise CommandError(f"{unfinished} of {len(ids)} runs not finished in {seconds:g} s.")
        if failed:
            raise CommandError(f"{failed} of {len(ids)} runs failed.")
        if cancelled:
            raise CommandError(f"{cancelled} of {len(ids)} runs were cancelled.")

    def _report_one(self, correlation_id: UUID, deadline: float, *, indent: bool) -> str:
        lines = ProgressLines(correlation_id)

        def print_progress() -> None:
            # The standard output is for the run alone.
            for line in lines.new():
                self.stderr.write(line, self.style.NOTICE)

        wait_until_finished(correlation_id, deadline - time.monotonic(), print_progress)
        try:
            run = Run.objects.select_related("flow_version").get(pk=correlation_id)
            self.stdout.write(trace_json(run, indent=indent).decode())
        except PayloadUnreadable as error:
            raise CommandError(
                f"The run {correlation_id} is started, and cannot be shown: {error}"
            ) from error
        return run.status


def _options(labels: list[str], deadline: str | None, callback_url: str | None) -> BatchOptions:
    """Return what is asked for beside the payload. Raises CommandError."""
    asked: BatchOptions = {}
    try:
        if labels:
            asked["labels"] = read_labels(labels)
    except OptionInvalid as error:
        raise CommandError(f"--label: {error}.") from error
    try:
        if deadline is not None:
            asked["deadline"] = read_time_or_seconds(deadline)
    except OptionInvalid as error:
        raise CommandError(f"--deadline {error}.") from error
    if callback_url is not None:
        if fault := url_fault(callback_url):
            raise CommandError(f"--callback-url {fault}.")
        asked["callback_url"] = callback_url
    return asked


def _payloads(text: str) -> bytes | list[bytes]:
    """Return one payload as it is written, or the list of them that a file has."""
    if text == "-":
        return _split(sys.stdin.buffer.read())
    if not text.startswith("@"):
        return text.encode()
    try:
        return _split(Path(text[1:]).read_bytes())
    except OSError as error:
        raise CommandError(f"Cannot read {text[1:]}: {error.strerror}") from error


def _split(raw: bytes) -> bytes | list[bytes]:
    raw = raw.strip()
    if raw.startswith(b"["):
        try:
            orjson.loads(raw)
            return [text.encode() for text, _ in items_of(raw.decode())]
        except (ValueError, RecursionError) as error:
            raise CommandError(f"The payload is not valid JSON: {error}") from error
    lines = [line for line in raw.splitlines() if line.strip()]
    # A payload may be written over many lines; NDJSON has a whole object on the first.
    return lines if len(lines) > 1 and _is_json(lines[0]) else raw


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _start_each(flow: str, payloads: list[bytes], asked: BatchOptions) -> Iterator[UUID]:
    for first in range(0, len(payloads), CHUNK):
        chunk = payloads[first : first + CHUNK]
        these = f"Payloads {first + 1} to {first + len(chunk)} of {len(payloads)}"
        try:
            yield from engine.start_many(flow, chunk, **asked)
        except FlowError as error:
            raise CommandError(
                f"{these} were not started, nor any after them. {_explained(error)}"
            ) from error
        except CommitInDoubt as error:
            raise CommandError(
                f"{these} may have been started, and none after them was. {error}"
            ) from error
        except DATABASE_ERRORS as error:
            if not first:
                # Nothing was started: it is told what to do about the database.
                raise
            raise CommandError(
                f"{these} were not started, nor any after them. The database says: {error}"
            ) from error


def _explained(error: FlowError) -> str:
    faults = error.errors if isinstance(error, PayloadInvalid) else []
    return "\n".join([str(error), *(f"  {fault['path']}: {fault['detail']}" for fault in faults)])

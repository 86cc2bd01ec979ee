"""All that is examined, in the order in which it is shown."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import django
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from flows.archive.files import folder
from flows.doctor import clocks, database, hosts, keys, machine
from flows.doctor.findings import Finding, State, error, ok, warning
from flows.models import AlertTargetState
from flows.models.alert import AlertLevel
from flows.monitoring.health import RULES, Alarm, Snapshot
from flows.tasks import clusters, installation
from flows.tasks.clusters import ClusterStatus

STATES = {AlertLevel.CRITICAL: State.ERROR, AlertLevel.WARNING: State.WARNING}


def examine() -> Iterator[Finding]:
    """Return one finding after the other. What needs the database is left out where that fails."""
    yield versions()
    yield from _of_database()
    yield from keys.keys()
    yield from hosts.hosts()
    yield from machine.machine()
    directory = Path(settings.ASYNCENGINE_TABLES_DIRECTORY)
    yield machine.disk(
        "disk of files", next(each for each in directory.parents if os.access(each, os.F_OK))
    )
    yield archive()


def archive() -> Finding:
    """Say whether runs can be archived from here."""
    name, root = "archive of runs", folder()
    if root is None:
        return ok(name, "There is none.")
    try:
        is_there = root.is_dir()
    except OSError as failed:
        return error(
            name,
            f"The folder {root} cannot be reached, so runs that are to be archived stay:"
            f" {failed.strerror}.",
            "Let the users that run workers and web servers through the folders above it.",
        )
    if not is_there:
        return error(
            name,
            f"The folder {root} is not there: runs that are to be archived stay.",
            "Mount its volume, or make the folder.",
        )
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        return error(
            name,
            f"The folder {root} cannot be written: runs that are to be archived stay.",
            "Let the users that run workers and web servers read and write it.",
        )
    return machine.disk(name, root)


def versions() -> Finding:
    try:
        own = version("asyncengine")
    except PackageNotFoundError:
        own = "of a checkout"
    python = platform.python_version()
    return ok("versions", f"Async Engine {own}, Django {django.__version__}, Python {python}.")


def _of_database() -> Iterator[Finding]:
    try:
        yield database.reached()
        migrations = database.migrations()
        yield migrations
        yield from database.inside()
        yield clocks.clock()
        yield from database.checks()
        if not migrations.advice:
            yield from _of_rows()
    except (DatabaseError, InterfaceError) as failed:
        yield error(
            "database",
            f"It does not answer: {str(failed).strip()}",
            "See DATABASE_URL, that the server runs, and its log.",
        )


def _of_rows() -> Iterator[Finding]:
    yield keys.secrets()
    yield keys.payloads()
    live = clusters.live_clusters()
    yield from clocks.clocks_of_clusters(live)
    yield workers(live)
    yield from alert_targets()
    yield from by_rules(installation.health(live))


def workers(live: list[ClusterStatus]) -> Finding:
    """Say which workers are alive. That none is, a rule says."""
    number = sum(each.workers for each in live)
    machines = sorted({each.machine for each in live})
    on = f" on {', '.join(machines)}" if machines else ""
    return ok("workers", f"{len(live)} clusters with {number} workers for flows are alive{on}.")


def alert_targets() -> Iterator[Finding]:
    """Name the targets of alerts that are not told."""
    failing = AlertTargetState.objects.filter(target__active=True).exclude(error="")
    for state in failing.select_related("target").order_by("target__name"):
        yield warning(
            f"alert target {state.target.name}",
            f"It was not told, {state.failures} times: {state.error}",
            "Send a test from its page, and correct its address.",
        )


def by_rules(snapshot: Snapshot) -> Iterator[Finding]:
    """Return what home's rules find; one line for each rule where that is nothing."""
    for name, rule in RULES.items():
        alarms = list(rule(snapshot))
        yield from map(_of_alarm, alarms)
        if not alarms:
            yield ok(name, "No alarm.")


def _of_alarm(alarm: Alarm) -> Finding:
    return Finding(alarm.rule, STATES[alarm.level], alarm.sentence, alarm.advice)

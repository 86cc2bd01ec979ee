"""Rows that a fixture makes: by the models once, then inserted as they were.

A small configuration takes a hundred statements of the ORM, which is a fifth of the time of the
tests that look at one page of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from flows.models import AuditEntry
from tests.databases import is_postgresql

# Triggers make its row.
REVISION = "flows_configurationrevision"


@dataclass
class Table:
    """The columns of a table, and its rows by their place in the file."""

    columns: list[str]
    rows: dict[int, tuple[Any, ...]]

    @classmethod
    def of(cls, name: str) -> Table:
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT rowid AS place, * FROM "{name}"')
            columns = [column[0] for column in cursor.description[1:]]
            return cls(columns, {row[0]: row[1:] for row in cursor.fetchall()})

    def without(self, earlier: Table) -> Table:
        return Table(
            self.columns, {place: self.rows[place] for place in {*self.rows} - {*earlier.rows}}
        )

    def insert(self, name: str, passed: timedelta) -> None:
        """Insert the rows, with each moment in them as long ago as it was then.

        Nothing refers to the counted keys of histories and of the audit log, which tests add to.
        """
        counted = "history_id" if "history_id" in self.columns else ""
        counted = "id" if name == AuditEntry._meta.db_table else counted
        columns = [column for column in self.columns if column != counted]
        places = [self.columns.index(column) for column in columns]
        with connection.cursor() as cursor:
            cursor.executemany(
                f'INSERT INTO "{name}" ({", ".join(map(_quoted, columns))})'
                f" VALUES ({', '.join(['%s'] * len(columns))})",
                [[_moved(row[place], passed) for place in places] for row in self.rows.values()],
            )


class MadeRows:
    """What `make` leaves in the database; it returns a dataclass of objects that are in it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.tables: dict[str, Table] = {}
        self.made: Any = None
        self.made_at = timezone.now()

    def again(self) -> Any:
        # Keys that PostgreSQL counts would not go on after those of inserted rows.
        if is_postgresql():
            return self.make()
        if not self.made:
            return self._first()
        try:
            with transaction.atomic():
                for name, table in self.tables.items():
                    table.insert(name, timezone.now() - self.made_at)
        except IntegrityError as error:
            if "UNIQUE" not in str(error):
                raise
            # The test has made rows with the same keys before.
            return self.make()
        return type(self.made)(
            **{
                field.name: _found_again(getattr(self.made, field.name))
                for field in fields(self.made)
            }
        )

    def _first(self) -> Any:
        before = {name: Table.of(name) for name in _names()}
        made, self.made_at = self.make(), timezone.now()
        after = {name: Table.of(name).without(before[name]) for name in before}
        self.tables = {name: table for name, table in after.items() if table.rows}
        self.made = made
        return made


def _names() -> list[str]:
    models = apps.get_models(include_auto_created=True)
    return [model._meta.db_table for model in models if model._meta.db_table != REVISION]


def _found_again(instance: Any) -> Any:
    return type(instance)._base_manager.get(pk=instance.pk)


def _quoted(name: str) -> str:
    return f'"{name}"'


def _moved(value: Any, passed: timedelta) -> Any:
    return str(value + passed) if isinstance(value, datetime) else value

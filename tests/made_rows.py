"""Rows that a fixture makes: by the models once, then inserted as they were.

A small configuration takes a hundred statements of the ORM, which is a fifth of the time of the
tests that look at one page of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from flows.models import AuditEntry

# Triggers make its row.
REVISION = "flows_configurationrevision"


@dataclass
class Table:
    """The columns of a table, and its rows by their keys."""

    columns: list[str]
    rows: dict[Any, tuple[Any, ...]]

    @classmethod
    def of(cls, name: str, key: str) -> Table:
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT * FROM "{name}"')
            columns = [column[0] for column in cursor.description]
            place = columns.index(key)
            return cls(columns, {row[place]: row for row in cursor.fetchall()})

    def without(self, earlier: Table) -> Table:
        return Table(
            self.columns, {key: row for key, row in self.rows.items() if key not in earlier.rows}
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
    """What `make` leaves in the database; it returns a dataclass of objects that are in it, or of
    such dataclasses.

    Rows keep their keys: those that a database counts have gone on since, and do not go back.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.tables: dict[str, Table] = {}
        self.made: Any = None
        self.made_at = timezone.now()

    def again(self) -> Any:
        if not self.made:
            self._make_first()
            return Found(self.made)
        try:
            with transaction.atomic():
                for name, table in self.tables.items():
                    table.insert(name, timezone.now() - self.made_at)
        except IntegrityError as error:
            if "unique" not in str(error).lower():
                raise
            # The test has made rows with the same keys before.
            return self.make()
        return Found(self.made)

    def _make_first(self) -> None:
        keys = _keys()
        before = {name: Table.of(name, key) for name, key in keys.items()}
        self.made, self.made_at = self.make(), timezone.now()
        after = {name: Table.of(name, key).without(before[name]) for name, key in keys.items()}
        self.tables = {name: table for name, table in after.items() if table.rows}


class Found:
    """The objects of what was made, each read from the database when a test first asks for it."""

    def __init__(self, made: Any) -> None:
        self._made = made

    def __getattr__(self, name: str) -> Any:
        made = getattr(self._made, name)
        found = Found(made) if is_dataclass(made) else type(made)._base_manager.get(pk=made.pk)
        setattr(self, name, found)
        return found


def _keys() -> dict[str, str]:
    """Return the column of the key of each table."""
    models = apps.get_models(include_auto_created=True)
    keys = {model._meta.db_table: str(model._meta.pk.column) for model in models}
    del keys[REVISION]
    return keys


def _quoted(name: str) -> str:
    return f'"{name}"'


def _moved(value: Any, passed: timedelta) -> Any:
    return str(value + passed) if isinstance(value, datetime) else value

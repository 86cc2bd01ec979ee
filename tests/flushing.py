"""How a test with transactions of its own leaves the database: as migrations leave it.

Django empties every table, and has all apps make their permissions and types again. That costs more
than most tests, above all on PostgreSQL, which makes new files for each table and index.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db.backends.base.base import BaseDatabaseWrapper

from flows.tasks import conservation, retention, run_texts

flush: Any = import_module("django.core.management.commands.flush")

# No test changes them: they stay, unless their number shows that one has.
KEPT = (Permission, ContentType)
# What migrations leave beside them.
SCHEDULED = (retention, conservation, run_texts)


@contextmanager
def only_what_has_rows() -> Iterator[None]:
    """Empty only tables that have rows, while the block runs."""
    empty_all, emit_to_all = flush.sql_flush, flush.emit_post_migrate_signal
    numbers: dict[str, list[int]] = {}

    def sql_flush(style: Any, connection: BaseDatabaseWrapper, **options: Any) -> list[str]:
        if not _are_kept(connection, numbers):
            return empty_all(style, connection, **options)
        return _statements(connection)

    def emit(verbosity: int, interactive: bool, db: str) -> None:
        if db in numbers:
            for tasks in SCHEDULED:
                tasks.ensure_schedule(using=db)
            return
        emit_to_all(verbosity, interactive, db)
        numbers[db] = _numbers(db)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "sql_flush", sql_flush)
        patch.setattr(flush, "emit_post_migrate_signal", emit)
        yield


def _are_kept(connection: BaseDatabaseWrapper, numbers: dict[str, list[int]]) -> bool:
    """Say whether the tables that stay have what migrations leave; forget the numbers if not."""
    if connection.alias in numbers and numbers[connection.alias] != _numbers(connection.alias):
        del numbers[connection.alias]
    return connection.alias in numbers and _may_delete_in_any_order(connection)


def _numbers(alias: str) -> list[int]:
    return [model._default_manager.using(alias).count() for model in KEPT]


def _may_delete_in_any_order(connection: BaseDatabaseWrapper) -> bool:
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('is_superuser')")
        return cursor.fetchone() == ("on",)


def _statements(connection: BaseDatabaseWrapper) -> list[str]:
    kept = {model._meta.db_table for model in KEPT}
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    deletions = [
        f"DELETE FROM {connection.ops.quote_name(name)}"
        for name in _with_rows(connection, sorted({*names} - kept))
    ]
    if connection.vendor != "postgresql":
        return deletions
    # Without triggers and checks of foreign keys.
    return ["SET LOCAL session_replication_role = replica", *deletions]


def _with_rows(connection: BaseDatabaseWrapper, names: list[str]) -> list[str]:
    asked = ", ".join(f"EXISTS (SELECT 1 FROM {connection.ops.quote_name(n)})" for n in names)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {asked}")
        return [name for name, has_rows in zip(names, cursor.fetchone(), strict=True) if has_rows]

"""An empty database takes the squashed migrations, and gets the tables that the others make."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db.migrations.loader import MigrationLoader

from tests.databases import ROOT, fresh_database, is_postgresql, migrated_database

# By the app: the squashed migration and the last one that it replaces.
SQUASHED = {
    "flows": ("0001_squashed_0054_alerts", "0054_alerts"),
    "scripts": ("0001_squashed_0008_reference_tables", "0008_reference_tables"),
}
# Migrate half of the way as before there were squashed migrations, then as today.
STEP_BY_STEP = """
import django
django.setup()
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
connection.prepare_database()
executor = MigrationExecutor(connection)
executor.loader = MigrationLoader(connection, replace_migrations=False)
executor.migrate([("flows", "0030_running_attempts"), ("scripts", "0005_help_on_every_field")])
call_command("migrate", verbosity=0)
"""
# What a database has beside its rows. Columns have numbers without those that were removed.
CATALOG = (
    """
    SELECT 'column', table_name, column_name,
        row_number() OVER (PARTITION BY table_name ORDER BY ordinal_position), data_type,
        character_maximum_length, is_nullable, column_default, identity_generation, collation_name
    FROM information_schema.columns WHERE table_schema = 'public'
    """,
    "SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    """
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
    """
    SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), tgenabled::text
    FROM pg_trigger WHERE NOT tgisinternal
    """,
    """
    SELECT 'function', proname, pg_get_functiondef(oid)
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'
    """,
    """
    SELECT 'relation', relname, relkind::text, relpersistence::text, reloptions::text
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
    """,
    "SELECT 'sequence', sequencename, data_type::text, increment_by FROM pg_sequences",
    "SELECT 'extension', extname FROM pg_extension",
)
ROWS = (
    "SELECT 'migration', app, name FROM django_migrations",
    "SELECT 'schedule', name, func FROM django_q_schedule",
    """
    SELECT 'permission', app_label, model, codename, auth_permission.name
    FROM auth_permission JOIN django_content_type ON django_content_type.id = content_type_id
    """,
)


@pytest.mark.parametrize("app", SQUASHED)
def test_a_squashed_migration_leaves_the_models_that_those_it_replaces_leave(app: str) -> None:
    loader = MigrationLoader(None, replace_migrations=False)

    squashed, step_by_step = (loader.project_state((app, name)).models for name in SQUASHED[app])

    assert squashed == step_by_step
    names = {name for _, name in loader.disk_migrations[app, SQUASHED[app][0]].replaces}
    *others, last = sorted(names)
    assert last == SQUASHED[app][1]
    assert len(others) + 1 == int(last[:4])


@pytest.mark.long
def test_an_empty_database_gets_what_others_get_step_by_step(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with fresh_database(tmp_path / "old") as old, migrated_database(tmp_path) as new:
        environment = os.environ | {
            "DATABASE_URL": old,
            "DJANGO_SETTINGS_MODULE": "asyncengine.settings",
        }
        subprocess.run([sys.executable, "-c", STEP_BY_STEP], env=environment, cwd=ROOT, check=True)

        expected, made = contents(old), contents(new)

    assert made == expected
    assert len(made) > 500


def contents(url: str) -> list[str]:
    if is_postgresql():
        with psycopg.connect(url) as server:
            return sorted(
                str(row) for query in (*CATALOG, *ROWS) for row in server.execute(query.encode())
            )
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
        rows: list[Any] = [row for query in ROWS for row in file.execute(query)]
        for kind, name, table, sql in file.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master"
        ):
            rows.append((kind, name, table, sql and parts(sql)))
    return sorted(map(str, rows))


def parts(sql: str) -> list[str]:
    """Return what stands between commas: a column that a migration has altered comes last."""
    plain = " ".join(sql.replace('"', "").split())
    return sorted(plain.removesuffix(")").replace(" (", ", ", 1).split(", "))

"""Triggers that change the configuration revision with every change of the configuration.

Processes cache plans of flows under the revision's token. Django sends no signal for
`QuerySet.update`, bulk inserts, data migrations or SQL by hand, but triggers run for all of them.
The token is random. A counter that was rolled back would have the same value for another state.
"""

from __future__ import annotations

from typing import Any

from django.db import connections

# The tables that a plan is read from.
TABLES = (
    "flows_flow",
    "flows_flowversion",
    "flows_queue",
    "flows_rolemapping",
    "flows_step",
    "flows_stepversion",
    "scripts_library",
    "scripts_libraryuse",
    "scripts_script",
    "scripts_scriptversion",
)

# Settings of a transaction, which end with it or with a rollback to an earlier savepoint. The first
# is on after it has changed the configuration, the second while it only adds versions.
CHANGES = "asyncengine.changes_configuration"
ADDS_VERSIONS = "asyncengine.adds_versions"

# Of the table, whose one row it stands for. The row's own lock did not do: a transaction that gave
# it back with a savepoint, and took it again, could deadlock with those that had waited for it.
LOCK_MODE = "SHARE ROW EXCLUSIVE"

# BEFORE: each transaction locks the revision before it changes the first row, so that two
# transactions that change the configuration cannot deadlock.
POSTGRESQL_FUNCTION = f"""
    CREATE OR REPLACE FUNCTION flows_configuration_changes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('{ADDS_VERSIONS}', true) = 'on' THEN
            RETURN NULL;
        END IF;
        PERFORM set_config('{CHANGES}', 'on', true);
        EXECUTE format('LOCK TABLE %I.flows_configurationrevision IN {LOCK_MODE} MODE',
                       TG_TABLE_SCHEMA);
        EXECUTE format('INSERT INTO %I.flows_configurationrevision (id, token)'
                       ' VALUES (1, gen_random_uuid())'
                       ' ON CONFLICT (id) DO UPDATE SET token = excluded.token', TG_TABLE_SCHEMA);
        RETURN NULL;
    END $$
"""  # noqa: S608  the names are those above

POSTGRESQL_TRIGGER = """
    CREATE OR REPLACE TRIGGER configuration_changes
    BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION flows_configuration_changes()
"""

# Without a conflict clause: SQLite would replace it by that of the statement that fires the trigger
# (INSERT OR IGNORE).
SQLITE_TRIGGER = """
    CREATE TRIGGER IF NOT EXISTS {table}_{event} AFTER {event} ON {table} BEGIN
        INSERT INTO flows_configurationrevision (id, token)
            SELECT 1, '' WHERE NOT EXISTS (SELECT 1 FROM flows_configurationrevision WHERE id = 1);
        UPDATE flows_configurationrevision SET token = lower(hex(randomblob(16))) WHERE id = 1;
    END
"""


def ensure_triggers(using: str, **kwargs: Any) -> None:
    """Make the missing triggers. Call it after each `migrate`.

    On SQLite, a migration that changes a table makes it anew without its triggers.
    """
    connection = connections[using]
    with connection.cursor() as cursor:
        existing = set(connection.introspection.table_names(cursor))
        tables = [table for table in TABLES if table in existing]
        if connection.vendor == "postgresql":
            cursor.execute(POSTGRESQL_FUNCTION)
            for table in tables:
                cursor.execute(POSTGRESQL_TRIGGER.format(table=table))
            return
        for table in tables:
            for event in ("INSERT", "UPDATE", "DELETE"):
                cursor.execute(SQLITE_TRIGGER.format(table=table, event=event.lower()))

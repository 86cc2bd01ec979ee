"""Triggers that change the configuration revision with every change of the configuration.

Processes keep plans of flows in memory under the revision's token. A signal of Django does not tell
of `QuerySet.update`, of a bulk insert, of a data migration or of SQL by hand; the database does.
The token is random, so that a state that was rolled back is never taken for one that came later.
"""

from __future__ import annotations

from typing import Any

from django.db import connections

# The tables that a plan is made of.
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

# A setting that a transaction has, up to its end or a rollback to a savepoint before, where it has
# changed the configuration; and one that it has where it does no more than add versions.
CHANGES = "asyncengine.changes_configuration"
ADDS_VERSIONS = "asyncengine.adds_versions"

# Before the first row is changed: whoever changes the configuration takes the revision's row first,
# so that two who do never wait for each other.
POSTGRESQL_FUNCTION = f"""
    CREATE OR REPLACE FUNCTION flows_configuration_changes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('{ADDS_VERSIONS}', true) = 'on' THEN
            RETURN NULL;
        END IF;
        PERFORM set_config('{CHANGES}', 'on', true);
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

# Written so that the conflict rule of the statement that fires it (INSERT OR IGNORE) does not
# matter: SQLite applies that rule to what a trigger does, too.
SQLITE_TRIGGER = """
    CREATE TRIGGER IF NOT EXISTS {table}_{event} AFTER {event} ON {table} BEGIN
        INSERT INTO flows_configurationrevision (id, token)
            SELECT 1, '' WHERE NOT EXISTS (SELECT 1 FROM flows_configurationrevision WHERE id = 1);
        UPDATE flows_configurationrevision SET token = lower(hex(randomblob(16))) WHERE id = 1;
    END
"""


def ensure_triggers(using: str, **kwargs: Any) -> None:
    """Make the triggers that are missing. To be called after each `migrate`.

    A migration that changes a table on SQLite makes the table anew and drops its triggers.
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

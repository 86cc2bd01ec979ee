"""Triggers that refuse to change or delete entries of the audit log, also by SQL.

Only the retention deletes entries, see `deletes_entries`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from flows.models.audit_entry import NEVER_CHANGED

TABLE = "flows_auditentry"
# A setting of the transaction that deletes old entries.
DELETES = "asyncengine.deletes_audit_entries"

POSTGRESQL_FUNCTION = f"""
    CREATE OR REPLACE FUNCTION flows_keep_audit_entries() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('{DELETES}', true) = 'on' THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION '{NEVER_CHANGED}';
    END $$
"""

POSTGRESQL_TRIGGER = f"""
    CREATE OR REPLACE TRIGGER keep_audit_entries BEFORE UPDATE OR DELETE ON {TABLE}
    FOR EACH ROW EXECUTE FUNCTION flows_keep_audit_entries()
"""

SQLITE_TRIGGER = f"""
    CREATE TRIGGER IF NOT EXISTS {TABLE}_keep_{{event}} BEFORE {{event}} ON {TABLE} BEGIN
        SELECT RAISE(ABORT, '{NEVER_CHANGED}');
    END
"""


def ensure_triggers(using: str, **kwargs: Any) -> None:
    """Make the missing triggers. Call it after each `migrate`, which may make the table anew."""
    connection = connections[using]
    with connection.cursor() as cursor:
        if TABLE not in connection.introspection.table_names(cursor):
            return
        if connection.vendor == "postgresql":
            cursor.execute(POSTGRESQL_FUNCTION)
            cursor.execute(POSTGRESQL_TRIGGER)
            return
        for event in ("update", "delete"):
            cursor.execute(SQLITE_TRIGGER.format(event=event))


@contextmanager
def deletes_entries(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Allow the transaction of the block, and no other, to delete entries."""
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config(%s, 'on', true)", [DELETES])
            yield
            cursor.execute("SELECT set_config(%s, 'off', true)", [DELETES])
            return
        # No other process sees the table without its trigger: the transaction is the only writer.
        cursor.execute(f"DROP TRIGGER IF EXISTS {TABLE}_keep_delete")
        yield
        cursor.execute(SQLITE_TRIGGER.format(event="delete"))

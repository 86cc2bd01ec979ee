"""Removes what benchmarks have left that were killed."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import Model

from flows.benchmark.names import BEGINNING, is_left, name_in
from flows.benchmark.workbench import Workbench
from flows.models import Flow, FlowVersion, Queue
from scripts.models import Script, ScriptVersion

# What a workbench is known by, whatever a kill has left of it.
_FLOWS = (
    (Flow.history.model, "name"),
    (FlowVersion, "flow_name"),
    (Queue, "name"),
    (Script, "name"),
    (ScriptVersion, "script_name"),
)


def remove_leftovers(*, anywhere: bool = False) -> list[str]:
    """Remove what killed benchmarks of this machine have left; return the names.

    `anywhere`: of other machines as well, where no benchmark is to run.
    """
    flows = _left_of(_FLOWS, anywhere)
    for name in flows:
        Workbench(name).remove()
    users = get_user_model()
    callers = _left_of(((users, users.USERNAME_FIELD), (Group, "name")), anywhere)
    for name in callers:
        # The name of a user may be an e-mail address.
        users._default_manager.filter(**{f"{users.USERNAME_FIELD}__startswith": name}).delete()
        Group.objects.filter(name__startswith=name).delete()
    tables = _tables_left(anywhere)
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"DROP TABLE IF EXISTS {connection.ops.quote_name(table)}")
    return [*flows, *callers, *tables]


def _left_of(places: Iterable[tuple[type[Model], str]], anywhere: bool) -> list[str]:
    found = set()
    for model, column in places:
        rows = model._default_manager.filter(**{f"{column}__startswith": BEGINNING})
        found |= {name_in(text.partition("@")[0]) for text in rows.values_list(column, flat=True)}
    return sorted(name for name in found if name and is_left(name, anywhere=anywhere))


def _tables_left(anywhere: bool) -> list[str]:
    names = {table: name_in(table) for table in connection.introspection.table_names()}
    return [table for table, name in names.items() if name and is_left(name, anywhere=anywhere)]

"""Encrypt again what stands under an older key, or plain: `manage.py rotate_payloads`.

Rows are changed in small transactions. What is under the newest key is left out, so a command that
was killed is repeated and goes on. Rows that others hold are left for the next round: it waits for
no lock, so it keeps no commit waiting and nothing deadlocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any

from django.apps import apps
from django.db import connection
from django.db.models import Model, Q, Value

from flows.archive.encrypting import encrypt_archive_again
from flows.encryption.payload_keys import MARK, decrypt, encrypting
from flows.erasure.places import ENVELOPE, ERASED, merge_texts, overwriting
from flows.errors import PayloadUnreadable
from flows.models import RunText
from flows.models.payload_text import PayloadField, stored
from flows.store import store

# The rows in one transaction: on SQLite no other process can write meanwhile.
BATCH = 100
# Of rows that others hold.
ROUNDS = 3


@dataclass(slots=True)
class Rotated:
    """How many rows were encrypted again, by table, and how many could not be, by the reason."""

    rows: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    # Rows that others held each time.
    held: int = 0


def places() -> Iterator[tuple[type[Model], list[PayloadField]]]:
    """Yield the tables with payloads, each with its columns."""
    for model in apps.get_app_config("flows").get_models():
        if found := [each for each in model._meta.fields if isinstance(each, PayloadField)]:
            yield model, found


def encrypt_all_again() -> Rotated:
    """Have everything as it would be written now. Raises OSError of the archive."""
    rotated = Rotated()
    for model, columns in places():
        for _ in range(ROUNDS):
            held = _encrypt_table(model, columns, rotated)
            if not held:
                break
        rotated.held += held
    if encrypting():
        rotated.rows["searchTexts"] += _forget_texts()
    rotated.rows["archived"] += encrypt_archive_again(rotated.unreadable)
    rotated.rows = +rotated.rows
    return rotated


def outdated(column: PayloadField) -> Q:
    """Return the condition that a column has what would be written in another way now."""
    name = column.name
    if key := encrypting():
        # What was erased tells nothing.
        plain = Q(**{f"{name}__in": ["", ERASED, ENVELOPE]})
        return Q(**{f"{name}__isnull": False}) & ~plain & ~Q(**{f"{name}__startswith": key.prefix})
    return Q(**{f"{name}__startswith": MARK})


def _encrypt_table(model: type[Model], columns: list[PayloadField], rotated: Rotated) -> int:
    """Encrypt the rows of a table again; return how many others held."""
    held, condition = 0, Q()
    for column in columns:
        condition |= outdated(column)
    rows = outdated_rows = model._base_manager.filter(condition).order_by("pk")
    while ids := list(rows.values_list("pk", flat=True)[:BATCH]):
        rows = outdated_rows.filter(pk__gt=ids[-1])
        with overwriting(), store().database.transaction():
            held += len(ids) - _encrypt_rows(model, columns, ids, rotated)
    return held


def _forget_texts() -> int:
    """Have the search forget what it has gathered before payloads were encrypted."""
    count, texts = 0, RunText.objects.order_by("pk").values_list("pk", flat=True)
    while ids := list(texts[:BATCH]):
        with overwriting(), store().database.transaction():
            count += RunText.objects.filter(pk__in=ids).delete()[0]
    if count:
        merge_texts(inf)
    return count


def _encrypt_rows(
    model: type[Model], columns: list[PayloadField], ids: list[Any], rotated: Rotated
) -> int:
    """Encrypt some rows again; return how many of them no other session holds."""
    names = [column.name for column in columns]
    as_stored = {f"{name}_stored": stored(name) for name in names}
    rows = model._base_manager.filter(pk__in=ids).order_by("pk")
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=True, no_key=True)
    found = list(rows.annotate(**as_stored).values_list("pk", *as_stored))
    for pk, *texts in found:
        try:
            again = {
                column.name: Value(column.encrypted(decrypt(text)))
                for column, text in zip(columns, texts, strict=True)
                if text is not None and text not in (ERASED, ENVELOPE)
            }
        except PayloadUnreadable as error:
            rotated.unreadable[str(error)] += 1
            continue
        model._base_manager.filter(pk=pk).update(**again)
        rotated.rows[model._meta.db_table] += 1
    return len(found)

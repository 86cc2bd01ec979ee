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
from django.db.models import Model, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Length

from flows.archive.encrypting import encrypt_archive_again
from flows.encryption.payload_keys import MARK, decrypt, encrypting, is_encrypted
from flows.erasure.places import ENVELOPE, ERASED, merge_texts, overwriting
from flows.errors import PayloadUnreadable
from flows.models import RunText, RunTextMark
from flows.models.payload_text import PayloadField, stored
from flows.store import store

# The rows in one transaction: on SQLite no other process can write meanwhile.
BATCH = 100
# Of all their columns, in memory as well.
MOST_CHARACTERS = 4_000_000
# Of rows that others hold.
ROUNDS = 3


@dataclass(slots=True)
class Rotated:
    """How many rows were encrypted again, by table, and how many could not be, by the reason."""

    rows: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    # Rows that others held each time, and hold still.
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
        _encrypt_table(model, columns, rotated)
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


def _encrypt_table(model: type[Model], columns: list[PayloadField], rotated: Rotated) -> None:
    condition = Q()
    for column in columns:
        condition |= outdated(column)
    rows = model._base_manager.filter(condition)
    held = _encrypt(rows, columns, rotated)
    for _ in range(ROUNDS - 1):
        if held:
            held = _encrypt(rows.filter(pk__in=held), columns, rotated)
    # Without those that were deleted meanwhile.
    rotated.held += rows.filter(pk__in=held).count() if held else 0


def _encrypt(rows: QuerySet[Any], columns: list[PayloadField], rotated: Rotated) -> list[Any]:
    """Encrypt rows again; return the keys of those that others held, or have deleted."""
    held: list[Any] = []
    characters: Any = sum((Coalesce(Length(column.name), 0) for column in columns), Value(0))
    sizes = rows.order_by("pk").values_list("pk", characters)
    after = sizes
    while ids := _ids_of_batch(after):
        after = sizes.filter(pk__gt=ids[-1])
        with overwriting(), store().database.transaction():
            found = _encrypt_rows(rows.model, columns, ids, rotated)
        held += [id for id in ids if id not in found]
    return held


def _ids_of_batch(sizes: QuerySet[Any, tuple[Any, ...]]) -> list[Any]:
    """Return the first keys up to a sum of characters, at least one."""
    ids: list[Any] = []
    left = MOST_CHARACTERS
    for pk, characters in sizes[:BATCH]:
        left -= characters
        if ids and left < 0:
            break
        ids.append(pk)
    return ids


def _encrypt_rows(
    model: type[Model], columns: list[PayloadField], ids: list[Any], rotated: Rotated
) -> set[Any]:
    """Encrypt some rows again; return the keys of those that no other session holds."""
    names = [column.name for column in columns]
    as_stored = {f"{name}_stored": stored(name) for name in names}
    rows = model._base_manager.filter(pk__in=ids).order_by("pk")
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=True, no_key=True)
    found = list(rows.annotate(**as_stored).values_list("pk", *as_stored))
    for pk, *texts in found:
        again, faults = {}, set()
        for column, text in zip(columns, texts, strict=True):
            try:
                if is_outdated(text):
                    again[column.name] = Value(column.encrypted(decrypt(text)))
            except PayloadUnreadable as error:
                faults.add(str(error))
        rotated.unreadable.update(faults)
        if again:
            model._base_manager.filter(pk=pk).update(**again)
            rotated.rows[model._meta.db_table] += 1
    return {pk for pk, *_ in found}


def is_outdated(text: str | None) -> bool:
    """Say of a text of the database what `outdated` says of a column."""
    if key := encrypting():
        return text not in (None, "", ERASED, ENVELOPE) and not str(text).startswith(key.prefix)
    return is_encrypted(text)


def _forget_texts() -> int:
    """Have the search forget what it has gathered before payloads were encrypted."""
    count = 0
    while deleted := _forget_some():
        count += deleted
    if count:
        merge_texts(inf)
    return count


def _forget_some() -> int:
    with overwriting(), store().database.transaction():
        # No text is gathered meanwhile: it would have been read before.
        list(RunTextMark.objects.select_for_update().values_list("pk"))
        ids = list(RunText.objects.order_by("pk").values_list("pk", flat=True)[:BATCH])
        return RunText.objects.filter(pk__in=ids).delete()[0]

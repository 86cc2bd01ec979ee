"""The cache of django-q2 alone, in the database: what it stores there, all processes see.

Django's own cache in the database stores pickles, and a pickle in a row would be a program. What
django-q2 stores is text, and lists of text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import django_q.monitor
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import connection, transaction
from django.utils import timezone

from flows.models import CachedValue

LONGEST_KEY = 255


class TaskCache(BaseCache):
    def __init__(self) -> None:
        super().__init__({"TIMEOUT": None})

    def validate_key(self, key: str) -> None:
        """Raise ValueError where the key is too long; that it has blanks does no harm here."""
        if len(key) > LONGEST_KEY:
            raise ValueError(f"a key of the cache has at most {LONGEST_KEY} characters: {key!r}")

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        key = self.make_and_validate_key(key, version)
        current = CachedValue.objects.current(timezone.now())
        found = current.filter(pk=key).values_list("value", flat=True).first()
        return default if found is None else found

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        row = CachedValue(self.make_and_validate_key(key, version), value, self._expiry(timeout))
        CachedValue.objects.bulk_create(
            [row],
            update_conflicts=True,
            unique_fields=["key"],
            update_fields=["value", "expires_at"],
        )

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        full_key = self.make_and_validate_key(key, version)
        CachedValue.objects.expired(timezone.now()).filter(pk=full_key).delete()
        _, is_new = CachedValue.objects.get_or_create(
            pk=full_key, defaults={"value": value, "expires_at": self._expiry(timeout)}
        )
        return is_new

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        current = CachedValue.objects.current(timezone.now())
        key = self.make_and_validate_key(key, version)
        return bool(current.filter(pk=key).update(expires_at=self._expiry(timeout)))

    def delete(self, key: str, version: int | None = None) -> bool:
        key = self.make_and_validate_key(key, version)
        return bool(CachedValue.objects.filter(pk=key).delete()[0])

    def clear(self) -> None:
        CachedValue.objects.all().delete()

    def under(self, prefix: str) -> list[Any]:
        """Return the values of all keys that begin so."""
        prefix = self.make_and_validate_key(prefix)
        current = CachedValue.objects.current(timezone.now()).filter(pk__startswith=prefix)
        return list(current.order_by("pk").values_list("value", flat=True))

    def _expiry(self, timeout: Any) -> datetime | None:
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return None if seconds is None else timezone.now() + timedelta(seconds=seconds)


_save_cached = django_q.monitor.save_cached


def save_cached_in_turn(task: dict[str, Any], broker: Any) -> None:
    """Store a result, one of a group after the other: two monitors add to one list."""
    group = task.get("group")
    if not group:
        _save_cached(task, broker)
        return
    django_q.monitor.close_old_django_connections()
    with transaction.atomic(), _connections_kept():
        # On SQLite a transaction has the whole database.
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [str(group)])
        _save_cached(task, broker)


@contextmanager
def _connections_kept() -> Iterator[None]:
    """Have django-q2 close no connection: it would be the one of the transaction."""
    closes = django_q.monitor.close_old_django_connections
    django_q.monitor.close_old_django_connections = lambda: None
    try:
        yield
    finally:
        django_q.monitor.close_old_django_connections = closes


def install() -> None:
    # The monitor calls it by its name in that module.
    django_q.monitor.save_cached = save_cached_in_turn

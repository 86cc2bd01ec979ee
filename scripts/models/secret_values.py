"""The values of secrets that scripts read, kept for some seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable

from django.db.utils import Error as DatabaseFault

from scripts.models import Secret
from scripts.models.encryption import NotDecryptable

# The time after which a changed value reaches running workers.
KEPT_SECONDS = 5.0

_kept: dict[str, tuple[float, str]] = {}


class SecretUnavailable(Exception):
    """A secret cannot be read."""


def secret_value(name: str) -> str:
    """Return the value, which may be some seconds old. Raises SecretUnavailable with the reason."""
    read_at, value = _kept.get(name, (0.0, ""))
    clock = time.monotonic()
    if not read_at or clock - read_at > KEPT_SECONDS:
        value = _read(name)
        _kept[name] = clock, value
    return value


def known_values(names: Iterable[str]) -> tuple[str, ...]:
    """Return the values of those that can be read, for a mask.

    While the database is away, values that were read before still count.
    """
    values = []
    for name in names:
        try:
            values.append(secret_value(name))
        except (SecretUnavailable, DatabaseFault):
            if name in _kept:
                values.append(_kept[name][1])
    return tuple(values)


def forget_secrets() -> None:
    """Drop what is kept in memory; for tests."""
    _kept.clear()


def _read(name: str) -> str:
    secret = Secret.objects.filter(name=name).first()
    if secret is None:
        raise SecretUnavailable(f"There is no secret {name!r}.")
    try:
        return secret.value()
    except NotDecryptable as error:
        raise SecretUnavailable(f"The secret {name!r} cannot be decrypted: {error}") from error

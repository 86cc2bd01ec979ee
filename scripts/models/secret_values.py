"""The values of secrets that scripts read, kept for some seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable

from django.db.utils import Error as DatabaseFault

from scripts.models import Secret
from scripts.models.encryption import NotDecryptable

# The time after which a changed value reaches running workers.
KEPT_SECONDS = 5.0

# By name: when it was read, its value, and whether scripts may read it.
_kept: dict[str, tuple[float, str, bool]] = {}


class SecretUnavailable(Exception):
    """A secret cannot be read."""


class SecretNotReadable(SecretUnavailable):
    """A script asked for the value of a secret that enters no script."""


def secret_value(name: str) -> str:
    """Return the value, which may be some seconds old. Raises SecretUnavailable with the reason."""
    return _known(name)[0]


def readable_value(name: str) -> str:
    """Return the value for a script. Raises SecretUnavailable, SecretNotReadable where it is not
    for scripts.
    """
    value, is_readable = _known(name)
    if not is_readable:
        raise SecretNotReadable(
            f"The secret {name!r} is not readable by scripts: it is for context.sign, context.jwt"
            " and the options ca and cert of outside calls."
        )
    return value


def _known(name: str) -> tuple[str, bool]:
    read_at, value, is_readable = _kept.get(name, (0.0, "", False))
    clock = time.monotonic()
    if not read_at or clock - read_at > KEPT_SECONDS:
        value, is_readable = _read(name)
        _kept[name] = clock, value, is_readable
    return value, is_readable


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


def _read(name: str) -> tuple[str, bool]:
    secret = Secret.objects.filter(name=name).first()
    if secret is None:
        raise SecretUnavailable(f"There is no secret {name!r}.")
    try:
        return secret.value(), secret.is_readable
    except NotDecryptable as error:
        raise SecretUnavailable(f"The secret {name!r} cannot be decrypted: {error}") from error

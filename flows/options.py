"""The options of a start for Python callers. The API checks those of HTTP callers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from django.contrib.auth import get_user_model
from django.utils import timezone

from flows.errors import OptionInvalid

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

LONGEST_KEY = 255
IDEMPOTENCY_KEY_AGE = timedelta(hours=24)
LONGEST_REASON = 500


class BatchOptions(TypedDict, total=False):
    """The options of a start of many runs; see `flows.public.start_many`."""

    user: AbstractBaseUser | None
    priority: int
    start_at: datetime | None


class StartOptions(BatchOptions, total=False):
    """The options of a start; see `flows.public.start`."""

    idempotency_key: str | None


def check_options(priority: Any, start_at: Any, idempotency_key: Any = None) -> int:
    """Return the priority as a plain number, also where it is a member of an IntEnum.

    Raises OptionInvalid, which is a ValueError, with the option and what it must be.
    """
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 9:
        raise OptionInvalid(f"priority must be a whole number from 0 to 9, not {priority!r}.")
    if start_at is not None:
        if not isinstance(start_at, datetime):
            raise OptionInvalid(f"start_at must be a datetime, not {start_at!r}.")
        if timezone.is_naive(start_at):
            raise OptionInvalid("start_at must have a time zone.")
    if idempotency_key is not None and (fault := _key_fault(idempotency_key)):
        raise OptionInvalid(f"idempotency_key must {fault}.")
    return int(priority)


def _key_fault(key: Any) -> str:
    if not isinstance(key, str):
        return f"be a string, not {key!r}"
    if not 1 <= len(key) <= LONGEST_KEY:
        return f"have 1 to {LONGEST_KEY} characters, not {len(key)}"
    if not key.isprintable():
        return "have printable characters alone"
    return ""


def can_be_a_name(name: Any) -> bool:
    """Return whether a row may have that name: no database looks up NUL or a lone surrogate."""
    if not isinstance(name, str) or "\0" in name:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def known_reason(reason: Any) -> str:
    """Return the reason of a call. Raises OptionInvalid unless a database can store it."""
    if not can_be_a_name(reason) or len(reason) > LONGEST_REASON:
        raise OptionInvalid(
            f"reason must be a text of at most {LONGEST_REASON} characters, not {reason!r}."
        )
    return str(reason)


def known_user(user: Any) -> Any:
    """Return the user of a call. Raises OptionInvalid unless it is stored, anonymous or None."""
    if user is None or getattr(user, "is_anonymous", False) is True:
        return user
    if not isinstance(user, get_user_model()) or user._state.adding:
        raise OptionInvalid(f"user must be a stored user, not {user!r}.")
    return user

"""The options of a start, as values of Python and as the texts of queries, forms and commands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from django.contrib.auth import get_user_model
from django.utils import timezone

from flows.errors import OptionInvalid
from flows.models.run_label import MOST_LABELS, label_fault
from flows.models.webhook_url import url_fault

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

LONGEST_KEY = 255
IDEMPOTENCY_KEY_AGE = timedelta(hours=24)
LONGEST_REASON = 500

# As RFC 3339 has it. A "+" that was not escaped arrives as a space, and generated clients in Python
# write +0100.
RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+ -]\d\d:?\d\d)", flags=re.ASCII
)
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class BatchOptions(TypedDict, total=False):
    """The options of a start of many runs; see `flows.public.start_many`."""

    user: AbstractBaseUser | None
    priority: int
    start_at: datetime | None
    labels: Mapping[str, str] | None
    deadline: datetime | timedelta | None
    callback_url: str | None


class StartOptions(BatchOptions, total=False):
    """The options of a start; see `flows.public.start`."""

    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a caller asks for beside the payload, checked. Labels are in the order of their keys."""

    priority: int
    start_at: datetime | None = None
    labels: tuple[tuple[str, str], ...] = ()
    deadline: datetime | timedelta | None = None
    callback_url: str = ""


def checked_options(
    priority: Any,
    start_at: Any,
    idempotency_key: Any = None,
    labels: Any = None,
    deadline: Any = None,
    callback_url: Any = None,
) -> RunOptions:
    """Return the options; the priority is a plain number, also where it is of an IntEnum.

    Raises OptionInvalid, which is a ValueError, with the option and what it must be.
    """
    if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 9:
        raise OptionInvalid(f"priority must be a whole number from 0 to 9, not {priority!r}.")
    if start_at is not None:
        _require_time("start_at", start_at)
    if deadline is not None and not isinstance(deadline, timedelta):
        _require_time("deadline", deadline)
    if idempotency_key is not None and (fault := key_fault(idempotency_key)):
        raise OptionInvalid(f"idempotency_key must {fault}.")
    if callback_url is not None and (fault := url_fault(callback_url)):
        raise OptionInvalid(f"callback_url {fault}.")
    asked = _checked_labels(labels or {})
    return RunOptions(int(priority), start_at, asked, deadline, callback_url or "")


def _require_time(option: str, value: Any) -> None:
    if not isinstance(value, datetime):
        raise OptionInvalid(f"{option} must be a datetime, not {value!r}.")
    if timezone.is_naive(value):
        raise OptionInvalid(f"{option} must have a time zone.")


def _checked_labels(labels: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(labels, Mapping):
        raise OptionInvalid(f"labels must be a mapping of texts, not {labels!r}.")
    for key, value in labels.items():
        if fault := label_fault(key, value):
            raise OptionInvalid(f"labels: {fault}.")
    if len(labels) > MOST_LABELS:
        raise OptionInvalid(f"labels: a run has at most {MOST_LABELS}, not {len(labels)}.")
    return tuple(sorted((str(key), str(value)) for key, value in labels.items()))


def read_labels(texts: Iterable[str]) -> dict[str, str]:
    """Return labels by their keys; each is given as `key:value`, and each key once.

    Raises OptionInvalid, which says what is wrong without the name of the option, as the other
    readers of texts do.
    """
    found: dict[str, str] = {}
    for each in texts:
        key, colon, value = each.partition(":")
        fault = label_fault(key, value) if colon else "must be key:value"
        if key in found:
            fault = f"the key {key!r} is given more than once"
        if fault:
            raise OptionInvalid(fault)
        found[key] = value
    if len(found) > MOST_LABELS:
        raise OptionInvalid(f"a run has at most {MOST_LABELS} labels")
    return found


def read_time(text: str) -> datetime:
    """Return the time of a text as RFC 3339 has it. Raises OptionInvalid."""
    try:
        if not RFC3339.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text.upper().replace(" ", "+")).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise OptionInvalid("must be a time as in 2026-11-02T09:30:00Z") from error


def read_time_or_seconds(text: str) -> datetime | timedelta:
    """Return a time, or a duration where a number of seconds is given. Raises OptionInvalid."""
    try:
        if not NUMBER.fullmatch(text):
            return read_time(text)
        return timedelta(seconds=float(text))
    except OptionInvalid as error:
        raise OptionInvalid(f"{error}, or a number of seconds from now, as in 300") from error
    except OverflowError as error:
        raise OptionInvalid("is longer than the calendar") from error


def key_fault(key: Any) -> str:
    """Say what an idempotency key must be that this one is not, "" where it may be one."""
    if not isinstance(key, str):
        return f"be a string, not {key!r}: write a number as a text"
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

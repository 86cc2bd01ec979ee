"""Checks the arguments of the kit. TypeError and ValueError say what is accepted."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Any, is_typeddict


def check_type(name: str, value: Any, kinds: type | tuple[type, ...], accepted: str) -> None:
    """Raise TypeError unless the value has the type. True and False are not numbers."""
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{name} must be {accepted}, not {value!r}.")


def check_flag(name: str, value: Any) -> None:
    check_type(name, value, bool, "True or False")


def check_text(name: str, value: Any) -> None:
    """Raise TypeError unless it is text, and ValueError for a lone surrogate."""
    check_type(name, value, str, "a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be text that UTF-8 can write, not {value!r}.") from None


def check_number(name: str, value: Any, least: int, most: int | None = None) -> None:
    accepted = f"a whole number from {least} " + ("on" if most is None else f"to {most}")
    check_type(name, value, int, accepted)
    if value < least or (most is not None and value > most):
        raise ValueError(f"{name} must be {accepted}, not {value!r}.")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    among = list(choices)
    if value not in among:
        raise ValueError(f"{name} must be one of {listed(among)}, not {value!r}.")


def check_json(name: str, value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise type(error)(f"{name} must be what JSON can write: {error}") from None


def check_function(name: str, value: Any, arguments: str, count: int) -> None:
    """Raise TypeError unless it can be called with this number of arguments and is not async."""
    accepted = f"a function of {arguments}"
    check_type(name, value, Callable, accepted)  # type: ignore[arg-type]
    if inspect.iscoroutinefunction(value):
        raise TypeError(f"{name} must be {accepted} that is not asynchronous, not {value!r}.")
    try:
        signature = inspect.signature(value)
    except ValueError:
        # Some functions in C have no signature.
        return
    try:
        signature.bind(*[None] * count)
    except TypeError as error:
        raise TypeError(f"{name} must be {accepted}, not {value!r}: {error}.") from None


def check_options(options: Collection[str], known: type, *more: str) -> None:
    """Raise TypeError for an option that the typed dictionary does not have."""
    assert is_typeddict(known)
    names = [*known.__annotations__, *more]
    for option in options:
        if option not in names:
            raise TypeError(f"There is no option {option!r}; there are {', '.join(names)}.")


def as_duration(name: str, value: Any) -> timedelta:
    """Return the value as a duration. A number is seconds."""
    accepted = "a timedelta or a number of seconds"
    check_type(name, value, (timedelta, int, float), accepted)
    if isinstance(value, timedelta):
        return value
    if not math.isfinite(value):
        raise ValueError(f"{name} must be {accepted}, not {value!r}.")
    try:
        return timedelta(seconds=value)
    except OverflowError:
        raise ValueError(f"{name} is longer than time goes on: {value!r} seconds.") from None


def listed(names: Iterable[Any]) -> str:
    return ", ".join(repr(name) for name in names) or "none"

"""Values that the hosts of a script share for some time, in the memory of their worker."""

from __future__ import annotations

import time
from collections import OrderedDict
from threading import Lock
from typing import Any

from scripts.protocol.calls import Program
from scripts.protocol.services import MAX_CACHED_LENGTH, Deadline, RequestFailed

MAX_KEY_LENGTH = 200
# Of one script version, and of all of a worker.
MAX_VALUES = 100
MAX_LENGTH = 16 * 1024 * 1024
LONGEST_SECONDS = 86_400.0


class SharedValues:
    """The service `cache`. Each script version has values of its own.

    Where there are too many, those go that were not used for the longest time.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        # The time until which it counts, by the monotonic clock, and the JSON text.
        self._values: OrderedDict[tuple[int, str], tuple[float, str]] = OrderedDict()
        self._length = 0

    def __call__(
        self, program: Program, request: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        name = program.version_id, _key_in(request)
        if request.get("what") == "get":
            with self._lock:
                text = self._get(name)
            return {} if text is None else {"text": text}
        if request.get("what") != "put":
            raise RequestFailed("It is asked to get or put a value.", "invalid")
        text, until = _text_in(request), time.monotonic() + _seconds_in(request)
        with self._lock:
            self._put(name, until, text)
        return {}

    def clear(self) -> None:
        with self._lock:
            self._values.clear()
            self._length = 0

    def _get(self, name: tuple[int, str]) -> str | None:
        until, text = self._values.get(name, (0.0, ""))
        if time.monotonic() >= until:
            self._drop(name)
            return None
        self._values.move_to_end(name)
        return text

    def _put(self, name: tuple[int, str], until: float, text: str) -> None:
        self._drop(name)
        self._values[name] = until, text
        self._length += len(text)
        own = [each for each in self._values if each[0] == name[0]]
        for each in own[: max(len(own) - MAX_VALUES, 0)]:
            self._drop(each)
        while self._length > MAX_LENGTH:
            self._drop(next(iter(self._values)))

    def _drop(self, name: tuple[int, str]) -> None:
        _, text = self._values.pop(name, (0.0, ""))
        self._length -= len(text)


def _key_in(request: dict[str, Any]) -> str:
    key = request.get("key")
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_LENGTH:
        raise RequestFailed(
            f"The key of a cached value is a text of 1 to {MAX_KEY_LENGTH} characters.", "invalid"
        )
    return key


def _text_in(request: dict[str, Any]) -> str:
    text = request.get("text")
    if not isinstance(text, str):
        raise RequestFailed("A cached value comes as JSON text.", "invalid")
    if len(text) > MAX_CACHED_LENGTH:
        raise RequestFailed(
            f"A cached value has {len(text)} characters as JSON; at most {MAX_CACHED_LENGTH} are"
            " allowed.",
            "too-large",
        )
    return text


def _seconds_in(request: dict[str, Any]) -> float:
    seconds = request.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise RequestFailed("A value is cached for more than 0 seconds.", "invalid")
    return min(float(seconds), LONGEST_SECONDS)

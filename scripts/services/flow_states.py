"""The state of flows, read for running scripts: what is stored, and what this worker will store.

Calls of a batch run one after the other and are stored together. A call would read what is stored
and not what the call before it leaves, and two that read and set the same key could never be
stored together. So a worker keeps what its calls leave until it is stored. That is no more than a
guess: the commit checks that what a call has read is there, and otherwise runs the message again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any

from scripts.protocol.calls import CallSite, Program
from scripts.protocol.flow_state import (
    ADD,
    READ,
    SET,
    Change,
    StateChanges,
    StateInvalid,
    added,
    checked_key,
)
from scripts.protocol.services import Deadline, RequestFailed
from scripts.services.database import OneConnection, read_patiently

# A JSON text, and its version.
Value = tuple[str, int]
# A flow and a key -> the value that is stored.
Reader = Callable[[int, str], Value | None]

# The app with the flows adds its own.
readers: list[Reader] = []

# A worker keeps at most this number of keys, for at most this time.
MAX_PENDING = 10_000
LONGEST_SECONDS = 30.0


class PendingStates:
    """What calls leave that have ended and are not stored yet."""

    def __init__(self) -> None:
        self._lock = Lock()
        # The text, None where it is deleted; the version; when it was noted.
        self._values: OrderedDict[tuple[int, str], tuple[str | None, int, float]] = OrderedDict()

    def get(self, flow_id: int, key: str) -> tuple[str | None, int] | None:
        with self._lock:
            found = self._values.get((flow_id, key))
            if found is None or time.monotonic() - found[2] > LONGEST_SECONDS:
                return None
            return found[:2]

    def note(self, flow_id: int, state: StateChanges) -> None:
        """Take note of what a call leaves, unless it cannot be stored after what is noted."""
        with self._lock:
            if all(self._fits(flow_id, change) for change in state.changes):
                for change in state.changes:
                    self._note(flow_id, change, state.version)

    def forget(self, flow_id: int, keys: Iterable[str], version: int | None = None) -> None:
        """Forget keys, those of this version alone where it is given."""
        with self._lock:
            for key in keys:
                found = self._values.get((flow_id, key))
                if found and version in (None, found[1]):
                    del self._values[flow_id, key]

    def clear(self) -> None:
        with self._lock:
            self._values.clear()

    def _fits(self, flow_id: int, change: Change) -> bool:
        found = self._values.get((flow_id, change.key))
        if found is None or change.seen is None:
            return True
        return change.seen == (0 if found[0] is None else found[1])

    def _note(self, flow_id: int, change: Change, version: int) -> None:
        name = flow_id, change.key
        before = self._values.get(name)
        if change.what == READ:
            return
        # A value that expires is read anew, and so is one that something unknown is added to.
        self._values.pop(name, None)
        text: str | None = change.text if change.what == SET else None
        if change.what == ADD:
            if before is None or before[0] is None:
                return
            try:
                text = added(before[0], change.text, change.key)
            except StateInvalid:
                return
        if change.expires is None:
            self._values[name] = text, version, time.monotonic()
            if len(self._values) > MAX_PENDING:
                self._values.popitem(last=False)


pending_states = PendingStates()


class FlowStates:
    """The service `state`: {flow, key} to {version, text, pending}."""

    def __init__(self) -> None:
        self._connection = OneConnection()

    def __call__(
        self, program: Program, request: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        flow_id, key = request["flow"], _key_in(request)
        if (known := known_state(flow_id, key)) is not None:
            return known
        with self._connection.used():
            return read_patiently(lambda: state_of(flow_id, key), deadline)

    def close(self) -> None:
        self._connection.close()

    def note(self, site: CallSite, state: StateChanges) -> None:
        """Take note of what a call leaves."""
        pending_states.note(site.flow_id, state)


def known_state(flow_id: int, key: str) -> dict[str, Any] | None:
    """Return what is not stored yet as {version, text, pending}; None: it is to be read."""
    if (found := pending_states.get(flow_id, key)) is None:
        return None
    text, version = found
    if text is None:
        return {"pending": True, "version": 0}
    return {"pending": True, "version": version, "text": text}


def state_of(flow_id: int, key: str) -> dict[str, Any]:
    """Return what a call reads as {version, text, pending}."""
    if (known := known_state(flow_id, key)) is not None:
        return known
    stored = next((read(flow_id, key) for read in readers), None)
    return {"version": 0} if stored is None else {"version": stored[1], "text": stored[0]}


def _key_in(request: dict[str, Any]) -> str:
    try:
        return checked_key(request.get("key"))
    except StateInvalid as error:
        raise RequestFailed(str(error), "invalid") from None

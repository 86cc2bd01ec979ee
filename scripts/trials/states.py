"""The state of a flow in a trial: it begins as it is given, and nothing of it is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from scripts.protocol.calls import CallSite, Program
from scripts.protocol.flow_state import (
    ADD,
    DELETE,
    READ,
    Change,
    StateChanges,
    StateInvalid,
    added,
    checked_key,
    checked_value,
)
from scripts.protocol.services import Deadline, RequestFailed


class TriedState:
    """The service `state` of one trial. Later scripts of the trial find what earlier ones left."""

    def __init__(self, sample: Mapping[str, Any] | None = None) -> None:
        """`sample`: values by key. Raises StateInvalid for what no state can have."""
        self.values = {
            checked_key(key): checked_value(json.dumps(value, ensure_ascii=False))
            for key, value in (sample or {}).items()
        }
        # Why a script's changes could not be stored; "" where they could.
        self.fault = ""

    def __call__(
        self, program: Program, request: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        try:
            text = self.values.get(checked_key(request.get("key")))
        except StateInvalid as error:
            raise RequestFailed(str(error), "invalid") from None
        return {"version": 0} if text is None else {"version": 1, "text": text}

    def note(self, site: CallSite, state: StateChanges) -> None:
        """Change it as a call does; of changes that are not possible it keeps the reason."""
        try:
            changed = {each.key: self._changed(each) for each in state.changes if each.what != READ}
        except StateInvalid as error:
            self.fault = f"The state of the flow: {error}"
            return
        values = {**self.values, **changed}
        self.values = {key: text for key, text in values.items() if text is not None}

    def _changed(self, change: Change) -> str | None:
        before = self.values.get(change.key)
        if change.what == DELETE:
            return None
        if change.what == ADD and before is not None:
            return added(before, change.text, change.key)
        return change.text

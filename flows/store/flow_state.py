"""The state of flows: read for their scripts, and changed in the commit that stores their steps.

The totals of a flow's state are locked before anything of it is changed, by commits behind the
counters of queues and before messages, so that no two wait for each other. Under that lock it is
decided message by message: what a script has read of the keys that it changes must be there still.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import F, QuerySet

from flows.disposition import Decision, Disposition
from flows.encryption.payload_keys import decrypt
from flows.errors import PayloadUnreadable
from flows.models import Flow, FlowState, FlowStateTotals
from flows.models.flow_state import size_of
from flows.models.payload_text import stored
from flows.plan import step_plan
from flows.store.types import DeliveryResult
from scripts.protocol.flow_state import (
    DELETE,
    READ,
    SET,
    Change,
    StateInvalid,
    added,
    checked_key,
    checked_value,
    new_version,
)
from scripts.protocol.services import UNREADABLE, RequestFailed
from scripts.services.flow_states import pending_states

# The state of one flow.
MAX_KEYS = 10_000
MAX_BYTES = 64 * 1024 * 1024
# So often a message is run again because others have changed what it read; then it fails.
MOST_CONFLICTS = 1000
MOST_COUNTED = 10_000

STORED_WITH = (Disposition.ACCEPTED, Disposition.RETRY, Disposition.WAITING)
RUN_AGAIN = Decision(Disposition.RELEASED)


class StateRefused(Exception):
    """A message has to be stored in another way; nothing of this transaction is.

    `why` is empty where it is to be run again, because what it has read has changed.
    """

    def __init__(self, done: DeliveryResult, why: str) -> None:
        super().__init__(why or "The state that it has read has changed.")
        self.done = done
        self.why = why


@dataclass(frozen=True, slots=True)
class Value:
    # It may be as the database has it: what is only replaced needs no key.
    text: str
    version: int
    expires_at: datetime | None = None


# By message: how often it was run again. Each process counts for itself.
_conflicts: OrderedDict[str, int] = OrderedDict()


def read(flow_id: int, key: str) -> tuple[str, int] | None:
    """Return the JSON text of a key and its version, None where there is none or it has expired.

    Raises RequestFailed, which names the key that decrypts it and is missing.
    """
    # Imported late: it makes the commits that this is a part of.
    from flows.store import store

    rows = FlowState.objects.filter(flow=flow_id, key=key)
    for text, version, expires_at in rows.values_list(stored("value"), "version", "expires_at"):
        if expires_at is None or expires_at > store().database.now():
            try:
                return decrypt(text), version
            except PayloadUnreadable as error:
                raise RequestFailed(str(error), UNREADABLE) from error
    return None


def with_state(results: Sequence[DeliveryResult], now: datetime) -> list[DeliveryResult]:
    """Change the state of flows as the results say that are stored with it.

    Those whose script has read what has changed since are to be run again. Raises StateRefused.
    """
    flows: dict[int, StateOfFlow] = {}
    ids = {flow_of(each) for each in results if changes_state(each)}
    for flow_id in sorted(ids - {0}):
        if lock(flow_id):
            keys = {change.key for each in results for change in changes_at(each, flow_id)}
            flows[flow_id] = StateOfFlow(flow_id, keys, now)
    settled = [
        flows[flow_of(each)].settle(each) if changes_at(each, *flows) else each for each in results
    ]
    for state in flows.values():
        state.write()
    return settled


def lock(flow_id: int) -> bool:
    """Lock the totals of a flow until the end of the transaction; false where it is gone."""
    totals = FlowStateTotals.objects.select_for_update().filter(pk=flow_id)
    if totals.first() is None and Flow.objects.filter(pk=flow_id).exists():
        FlowStateTotals.objects.bulk_create([FlowStateTotals(pk=flow_id)], ignore_conflicts=True)
    return totals.first() is not None


def flow_of(result: DeliveryResult) -> int:
    return step_plan(result.held.step_id).site.flow_id


def forget_pending(result: DeliveryResult) -> None:
    """Forget the state that a delivery would have stored; later calls read what is stored."""
    if result.state is not None:
        keys = [change.key for change in result.state.changes]
        pending_states.forget(flow_of(result), keys, result.state.version)


def changes_state(result: DeliveryResult) -> bool:
    return result.state is not None and result.disposition in STORED_WITH


def changes_at(result: DeliveryResult, *flow_ids: int) -> Sequence[Change]:
    """Return what a result changes in the state of one of these flows."""
    if result.state is None or not changes_state(result) or flow_of(result) not in flow_ids:
        return ()
    return result.state.changes


class StateOfFlow:
    """What a transaction makes of the state of a flow whose totals it has locked."""

    def __init__(self, flow_id: int, keys: Iterable[str], now: datetime) -> None:
        self.flow_id = flow_id
        self.now = now
        rows = FlowState.objects.filter(flow=flow_id, key__in=list(keys))
        self.stored = {
            key: Value(*value)
            for key, *value in rows.values_list("key", stored("value"), "version", "expires_at")
        }
        self.values: dict[str, Value | None] = {
            key: None if value.expires_at and value.expires_at <= now else value
            for key, value in self.stored.items()
        }
        self.changed: dict[str, None] = {}
        self.totals = FlowStateTotals.objects.get(pk=flow_id)

    def settle(self, result: DeliveryResult) -> DeliveryResult:
        """Take what a result changes, or return the message as one that is to be run again."""
        assert result.state is not None
        changes, version = result.state.changes, result.state.version
        if any(self.has_changed(change) for change in changes):
            return self._again(result)
        _conflicts.pop(result.held.id, None)
        try:
            values = {
                each.key: self._changed(each, version) for each in changes if each.what != READ
            }
            before, self.values = self.values, self.values | values
            self.changed |= dict.fromkeys(values)
            self._require_room(before)
        except StateInvalid as error:
            raise StateRefused(result, f"The state of the flow: {error}") from None
        return result

    def change(self, changes: Sequence[Change], version: int) -> None:
        """Raises StateInvalid."""
        values = {each.key: self._changed(each, version) for each in changes if each.what != READ}
        before, self.values = self.values, self.values | values
        self.changed |= dict.fromkeys(values)
        self._require_room(before)

    def write(self) -> None:
        """Write what has changed, and have the worker forget what it has kept of it."""
        kept = [(key, value) for key in self.changed if (value := self.values[key])]
        gone = [key for key in self.changed if self.values[key] is None and key in self.stored]
        FlowState.objects.bulk_create(
            [self._row(key, value) for key, value in kept],
            update_conflicts=True,
            unique_fields=["flow", "key"],
            update_fields=["value", "version", "expires_at", "changed_at"],
        )
        if gone:
            FlowState.objects.filter(flow=self.flow_id, key__in=gone).delete()
        if self.changed:
            keys, size = self._growth()
            add_to_state_totals(self.flow_id, keys, size)
        for key in self.changed:
            value = self.values[key]
            version = value.version if value else None
            forget = partial(pending_states.forget, self.flow_id, [key], version)
            transaction.on_commit(forget, robust=True)

    def has_changed(self, change: Change) -> bool:
        if change.seen is None:
            return False
        value = self.values.get(change.key)
        return change.seen != (value.version if value else 0)

    def _again(self, result: DeliveryResult) -> DeliveryResult:
        assert result.state is not None
        pending_states.forget(self.flow_id, [change.key for change in result.state.changes])
        times = _conflicts.pop(result.held.id, 0) + 1
        if times > MOST_CONFLICTS:
            raise StateRefused(
                result,
                "The state of the flow: what the script has read was changed by others,"
                f" {times} times in a row.",
            )
        _conflicts[result.held.id] = times
        if len(_conflicts) > MOST_COUNTED:
            _conflicts.popitem(last=False)
        if result.ran_in_commit:
            # What it has written has to go, too.
            raise StateRefused(result, "")
        return run_again(result)

    def _changed(self, change: Change, version: int) -> Value | None:
        """Return the value of a key after a change."""
        if change.what == DELETE:
            return None
        before = self.values.get(change.key)
        expires_at = self.now + timedelta(seconds=change.expires) if change.expires else None
        if change.what == SET or before is None:
            return Value(change.text, version, expires_at)
        return Value(
            added(decrypt(before.text), change.text, change.key), version, before.expires_at
        )

    def _require_room(self, before: dict[str, Value | None]) -> None:
        """Raise StateInvalid where the flow has too much state, and more than before."""
        keys, size = self._sums()
        if keys > MAX_KEYS or size > MAX_BYTES:
            self._delete_expired()
            keys, size = self._sums()
        (own, own_size), (last, last_size) = sums(self.values), sums(before)
        if (keys > MAX_KEYS and own > last) or (size > MAX_BYTES and own_size > last_size):
            raise StateInvalid(
                f"It would have {keys} keys with {size} bytes; at most {MAX_KEYS} keys and"
                f" {MAX_BYTES} bytes are kept."
            )

    def _sums(self) -> tuple[int, int]:
        keys, size = self._growth()
        return self.totals.keys + keys, self.totals.bytes + size

    def _delete_expired(self) -> None:
        others = FlowState.objects.expired(self.now).exclude(key__in=list(self.values))
        delete_rows(self.flow_id, others.filter(flow=self.flow_id))
        self.totals.refresh_from_db()

    def _growth(self) -> tuple[int, int]:
        """Return by how many keys and bytes the state grows."""
        new = [(key, value) for key in self.changed if (value := self.values[key])]
        old = [(key, value) for key in self.changed if (value := self.stored.get(key))]
        size = sum(size_of(key, value.text) for key, value in new)
        return len(new) - len(old), size - sum(size_of(key, value.text) for key, value in old)

    def _row(self, key: str, value: Value) -> FlowState:
        return FlowState(
            flow_id=self.flow_id,
            key=key,
            value=value.text,
            version=value.version,
            expires_at=value.expires_at,
            changed_at=self.now,
        )


def sums(values: dict[str, Value | None]) -> tuple[int, int]:
    """Return how many there are, and their bytes."""
    there = [(key, value) for key, value in values.items() if value]
    return len(there), sum(size_of(key, value.text) for key, value in there)


def add_to_state_totals(flow_id: int, keys: int, size: int) -> None:
    """Count keys and bytes in the totals of a flow, which are locked."""
    if keys or size:
        FlowStateTotals.objects.filter(pk=flow_id).update(
            keys=F("keys") + keys, bytes=F("bytes") + size
        )


def delete_rows(flow_id: int, rows: QuerySet[FlowState]) -> int:
    """Delete values of a flow whose totals are locked; return how many."""
    found = list(rows.values_list("pk", "key", stored("value")))
    FlowState.objects.filter(pk__in=[pk for pk, *_ in found]).delete()
    add_to_state_totals(flow_id, -len(found), -sum(size_of(key, value) for _, key, value in found))
    return len(found)


def purge_expired(now: datetime, most: int) -> int:
    """Delete some of the values that have expired, of one flow; return how many."""
    expired = FlowState.objects.expired(now)
    flow_id = expired.order_by("expires_at").values_list("flow", flat=True).first()
    if flow_id is None:
        return 0
    with transaction.atomic():
        if not lock(flow_id):
            return 0
        some = expired.filter(flow=flow_id).order_by("expires_at").values("pk")[:most]
        return delete_rows(
            flow_id, FlowState.objects.filter(pk__in=list(some.values_list("pk", flat=True)))
        )


def change_by_hand(
    flow_id: int, key: str, text: str | None, now: datetime, seen: int | None = None
) -> tuple[str | None, str | None]:
    """Set a value for good, or delete it where the text is None; return it before and after.

    Within a transaction. Scripts that have read it are run again. `seen` is the version that the
    user has seen, where it is to be that still. Raises StateInvalid.
    """
    change = Change(checked_key(key), DELETE if text is None else SET, seen=seen)
    if text is not None:
        change = replace(change, text=checked_value(text))
    if not lock(flow_id):
        return None, None
    state = StateOfFlow(flow_id, [key], now)
    if state.has_changed(change):
        raise StateInvalid("A script has changed the value meanwhile.")
    before = state.values.get(key)
    state.change([change], new_version())
    state.write()
    return _told(before.text) if before else None, text


def _told(text: str) -> str:
    """Return a stored value for a record; what no key decrypts is changed and deleted as well."""
    try:
        return decrypt(text)
    except PayloadUnreadable as error:
        return f"[{error}]"


def run_again(result: DeliveryResult) -> DeliveryResult:
    """Return what becomes of a message whose script has read what has changed since."""
    return replace(
        result,
        decision=RUN_AGAIN,
        output="",
        branches=None,
        finishes=False,
        logs="",
        warning=False,
        state=None,
        runs_again=True,
        run_in_transaction=None,
    )

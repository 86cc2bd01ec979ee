"""A digest that is the same for the same start, however it is written; for idempotency keys."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import orjson

from flows.encryption.payload_keys import KEYED, is_keyed_of
from flows.errors import PayloadInvalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Marks digests of the second form. Those of the first form have no mark, see `_first_digest`.
FORM = "2:"


class Digits(str):
    """A number as it is written; its representation has no quotes, unlike that of a text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def request_digest(
    body: str,
    priority: int,
    start_at: datetime | None,
    labels: tuple[tuple[str, str], ...] = (),
    deadline: datetime | timedelta | None = None,
    callback_url: str = "",
    repeats: tuple[str, str | None] | None = None,
) -> str:
    """Return the digest of all that makes one start different from another.

    The order of keys, white space and escapes do not count. The digits of a number do: a script may
    tell 1 from 1.0. Times count, not how they are written; but a deadline by a time is another than
    one by a duration. Labels are in the order of their keys.
    Raises PayloadInvalid where the payload is nested too deep.
    """
    return RequestDigests(body).of(priority, start_at, labels, deadline, callback_url, repeats)


class RequestDigests:
    """The digests of starts with the same payload, which is read once."""

    def __init__(self, body: str) -> None:
        """Raises PayloadInvalid where the payload is nested too deep."""
        try:
            payload = json.loads(
                body, object_pairs_hook=_in_order, parse_int=Digits, parse_float=Digits
            )["payload"]
            self._payload = hashlib.sha256(f"({payload!a}".encode())
        except RecursionError as error:
            raise PayloadInvalid("The payload is nested too deep.") from error

    def of(
        self,
        priority: int,
        start_at: datetime | None,
        labels: tuple[tuple[str, str], ...] = (),
        deadline: datetime | timedelta | None = None,
        callback_url: str = "",
        repeats: tuple[str, str | None] | None = None,
    ) -> str:
        asked: list[Any] = [priority, start_at and _micros(start_at - EPOCH)]
        # Digests of starts without them stay as they were.
        if labels or deadline is not None:
            asked += [labels, _deadline(deadline)]
        if callback_url:
            asked.append(["callback", callback_url])
        if repeats:
            asked.append(["repeats", *repeats])
        digest = self._payload.copy()
        digest.update("".join([*(f", {each!a}" for each in asked), ")"]).encode())
        # 248 bits and the mark fill the 64 characters of the column.
        return FORM + digest.hexdigest()[: 64 - len(FORM)]


def _deadline(deadline: datetime | timedelta | None) -> tuple[str, int] | None:
    if deadline is None:
        return None
    if isinstance(deadline, timedelta):
        return "in", _micros(deadline)
    return "at", _micros(deadline - EPOCH)


def _micros(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def is_of_request(known: str, digest: str, body: str) -> bool:
    """Say whether a stored digest is that of the request with this digest and this body."""
    if known.startswith(KEYED):
        return is_keyed_of(known, digest)
    if known.startswith(FORM):
        return known == digest
    return known == _first_digest(body)


def _in_order(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(sorted(pairs, key=itemgetter(0)))


def _first_digest(body: str) -> str | None:
    """Return the digest as it was stored before migration 0007, without mark and options.

    Such keys count for a day after the migration. None: the first form has no digest for it.
    """
    try:
        payload = orjson.loads(body)["payload"]
        return hashlib.sha256(orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)).hexdigest()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None

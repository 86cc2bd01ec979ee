"""Which inputs of steps are kept with the step's run, and how much of each."""

from __future__ import annotations

from django.conf import settings

from flows.disposition import Disposition
from flows.encryption.payload_keys import decrypt, encrypt
from flows.errors import PayloadUnreadable
from flows.models.keep import Keep
from flows.plan import step_plan
from flows.store.types import DeliveryResult

# Of runs that fail, those of the steps before. The input that failed is in the dead letter.
KEPT: dict[str, tuple[Disposition, ...]] = {
    Keep.EVERYTHING.value: (Disposition.ACCEPTED, Disposition.CANCELLED),
    Keep.FAILURES.value: (Disposition.ACCEPTED,),
    Keep.NOTHING.value: (),
}
NOT_KEPT: dict[str, object] = {"input": None, "input_bytes": None}


def input_of(done: DeliveryResult, most_bytes: int) -> dict[str, object]:
    """Return the columns of a step run with its input.

    The delivery that ends a step keeps its input. Until then the message has it.
    """
    if done.decision.disposition not in KEPT[step_plan(done.held.step_id).keep]:
        return NOT_KEPT
    text, size = beginning(done.held.body, most_bytes)
    return {"input": text, "input_bytes": size}


def kept_at_cancel(body: str) -> str:
    """Return what is stored of a message that waited, of its body as the database had it."""
    try:
        return encrypt(beginning(decrypt(body), settings.ASYNCENGINE_MAX_KEPT_BYTES)[0])
    except PayloadUnreadable:
        # A key may be missing here alone.
        return body


def beginning(text: str, most: int) -> tuple[str, int | None]:
    """Return the first bytes of a text, and the bytes of all of it if these are not the whole."""
    # A character has up to four bytes: few texts have to be counted.
    if 4 * len(text) <= most:
        return text, None
    whole = text.encode()
    if len(whole) <= most:
        return text, None
    return whole[:most].decode(errors="ignore"), len(whole)

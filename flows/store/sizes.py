"""The bound on the result of a run, and on what a join gets: ASYNCENGINE_MAX_RESULT_BYTES."""

from __future__ import annotations

from django.conf import settings

from flows.encryption.payload_keys import BESIDE_BYTES, MARK, PREFIX_LENGTH
from flows.store import sql
from flows.store.database import Database

# A join gets payloads alone: an envelope around each of them is of no weight.
ENVELOPE_BYTES = 128


def fault_of_ends(database: Database, run_id: str) -> str | None:
    """Return why the outputs of a run's branches cannot be put together, before any is read."""
    encrypted = f"(LENGTH(body) - {PREFIX_LENGTH}) * 3 / 4 - {BESIDE_BYTES}"
    size = f"CASE WHEN body LIKE '{MARK}%%' THEN {encrypted} ELSE {database.bytes_of} END"
    statement = sql.SIZE_OF_ENDS.format(bytes=size)
    count, size = database.query(statement, [run_id])[0]
    if size - ENVELOPE_BYTES * count <= settings.ASYNCENGINE_MAX_RESULT_BYTES:
        return None
    return f"The outputs of its {count} branches {too_large(size)}"


def fault_of_text(text: str) -> str | None:
    """Return why a text can be no result and no input of a join."""
    # A character has up to four bytes: few texts have to be counted.
    if 4 * len(text) <= settings.ASYNCENGINE_MAX_RESULT_BYTES:
        return None
    size = len(text.encode())
    if size <= settings.ASYNCENGINE_MAX_RESULT_BYTES:
        return None
    return f"The result {too_large(size, 'has')}"


def too_large(size: int, verb: str = "together have") -> str:
    """Return the end of a sentence about a size in bytes."""
    most = settings.ASYNCENGINE_MAX_RESULT_BYTES
    return f"{verb} {size:,} bytes; ASYNCENGINE_MAX_RESULT_BYTES allows {most:,}."

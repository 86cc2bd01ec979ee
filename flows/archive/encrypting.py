"""Lines of the archive that are encrypted: which run it is, and its labels, stay readable."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import orjson
import zstandard

from flows.archive.files import all_lines_of, files, rewrite
from flows.archive.record import document_of
from flows.encryption.payload_keys import decrypt_bytes, encrypting
from flows.errors import PayloadUnreadable

logger = logging.getLogger(__name__)

ENCRYPTED = "encrypted"
_NAMED = b'"encrypted":"'
# What a line has of its run beside what is encrypted, which is the whole line.
READABLE = (
    *("correlationId", "flowName", "flowVersion", "status", "parent", "repeats", "erasedAt"),
    *("createdAt", "startedAt", "finishedAt", "startedBy", "cancelledBy", "warnings"),
    *("labels", "deadline"),
)


def as_archived(line: bytes) -> bytes:
    """Return a line as the archive is to have it. What was erased stays plain."""
    key = encrypting()
    if key is None:
        return line
    document = document_of(line)
    if document["erasedAt"]:
        return line
    readable = {name: document.get(name) for name in READABLE}
    # Afterwards it could not be compressed.
    readable[ENCRYPTED] = key.encrypt(zstandard.compress(line))
    return orjson.dumps(readable, option=orjson.OPT_APPEND_NEWLINE)


def opened(line: bytes) -> bytes:
    """Return a line of the archive as it was before it was encrypted. Raises PayloadUnreadable."""
    text = _encrypted(line)
    return line if text is None else zstandard.decompress(decrypt_bytes(text))


def readable(line: bytes) -> dict[str, Any]:
    """Return what a line says of its run without any key, in the form of a run without payloads."""
    document = document_of(line)
    if document.pop(ENCRYPTED, None) is not None:
        document |= {"error": "", "stepRuns": [], "deadLetters": [], "webhooks": []}
    return document


def encrypt_archive_again(unreadable: Counter[str]) -> int:
    """Have each line as it would be written now; return how many were changed.

    Those that no key decrypts stay, and files that are damaged; they are counted by the reason.
    Raises OSError where the archive's folder cannot be read.
    """
    count = 0

    def change(line: bytes) -> bytes:
        nonlocal count
        if not is_outdated(line):
            return line
        try:
            again = as_archived(opened(line))
        except PayloadUnreadable as error:
            unreadable[str(error)] += 1
            return line
        count += 1
        return again

    for path in files():
        try:
            if any(map(is_outdated, all_lines_of(path))):
                rewrite(path, change)
        except OSError as error:
            logger.error("The lines of %s are not encrypted again: %s", path, error)
            unreadable[str(error)] += 1
    return count


def is_outdated(line: bytes) -> bool:
    """Say whether a line would be written in another way now."""
    text, key = _encrypted(line), encrypting()
    if text is None:
        return key is not None and not document_of(line)["erasedAt"]
    return key is None or not text.startswith(key.prefix)


def _encrypted(line: bytes) -> str | None:
    # A payload may have such a member, too.
    return document_of(line).get(ENCRYPTED) if _NAMED in line else None

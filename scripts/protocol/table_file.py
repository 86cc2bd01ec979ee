"""The file of a reference table as hosts map it: rows, and where each key stands.

    HEADER         magic, counts, places, and the SHA-256 of all that follows
    rows           ROW, key in UTF-8, value as JSON text, in the order of the table
    slots          eight bytes each: place of a row, below some bits of its key's hash; 0: empty
    description    JSON: {columns}; with columns a value is an array, one text for each column

A key's slot is the first free one from its hash on. The number of slots is a power of two, and at
least a quarter of them is free.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

MAGIC = b"AETABLE1"
# Magic, number of rows, place of the slots, their number, place of the description, digest.
HEADER = struct.Struct("<8sQQQQ32s")
# Bytes of the key, bytes of the value.
ROW = struct.Struct("<II")
PLACE_BITS = 40
PLACE = (1 << PLACE_BITS) - 1

MAX_FILE_BYTES = 50 * 1024 * 1024
MAX_ROWS = 2_000_000
MAX_KEY_BYTES = 1000
MAX_ROW_BYTES = 128 * 1024
MAX_COLUMNS = 500
MAX_TABLES = 16


def key_hash(key: bytes) -> int:
    """Return 64 bits that are the same on every machine."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")

"""Memory that large messages have taken."""

from __future__ import annotations

import ctypes
import gc

# What a worker has had at once before it is worth the time.
LARGE_BYTES = 4 * 1024 * 1024


def give_back() -> None:
    """Give freed memory back to the system; the allocator of glibc would keep most of it."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

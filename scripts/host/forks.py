"""Memory that processes share with the one that they are forked from."""

import ctypes
import gc
from collections.abc import Callable
from typing import Any

# The largest gaps are few; one that stays open costs its pages alone.
_SIZES = (*range(65_536, 1_040, -512), *range(1_032, 23, -16))
# A round of sizes takes milliseconds. It ends with the gaps, long before that.
_MOST_BLOCKS = 100_000


class _Mallinfo(ctypes.Structure):
    """The `struct mallinfo2` of glibc: what its heap has, in bytes where it is not a count."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def prepare_for_forks() -> None:
    """Have forked processes copy as little as may be of what is loaded.

    A page is copied as soon as one of them writes to it. So the collector leaves alone what is
    there, and the gaps of the heap are filled: what a process allocates goes to pages of its own,
    and not into gaps of thousands of shared ones.
    """
    gc.collect()
    _fill_gaps()
    gc.freeze()


def _fill_gaps() -> None:
    """Allocate for good what glibc has free below the top of its heap. It takes no memory more."""
    try:
        malloc, free, gaps = _heap()
    except AttributeError:
        # Another C library.
        return
    left = _MOST_BLOCKS
    for size in _SIZES:
        while left and (before := gaps())[0] >= size:
            left -= 1
            block = malloc(size)
            if gaps()[1] != before[1]:
                # It came from the top: there is no gap of that size.
                free(block)
                break


def _heap() -> tuple[Callable[[int], int], Callable[[int], None], Callable[[], tuple[int, Any]]]:
    """Return malloc, free, and what tells the bytes in gaps with the place of the top."""
    libc = ctypes.CDLL(None)
    info = libc.mallinfo2
    info.restype = _Mallinfo
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]

    def gaps() -> tuple[int, Any]:
        found = info()
        return found.fordblks - found.keepcost, (found.keepcost, found.arena)

    return libc.malloc, libc.free, gaps

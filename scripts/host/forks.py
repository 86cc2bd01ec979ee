"""Memory that processes share with the one that they are forked from."""

import ctypes
import gc
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

# The largest gaps are few; one that stays open costs its pages alone.
_SIZES = (*range(65_536, 1_040, -512), *range(1_032, 23, -16))
# A round of sizes takes milliseconds. It ends with the gaps, long before that.
_MOST_BLOCKS = 100_000
# Python has pools of blocks of these sizes for its objects. `bytes` has 33 more than its text.
_POOLS: tuple[tuple[int, Callable[[], object]], ...] = (
    (16, object),
    (32, partial(complex, 1)),
    *((size, partial(bytes, size - 35)) for size in range(48, 513, 16)),
)
# This number of blocks one behind the other are those of a new pool; the most that are free before.
_IN_A_ROW, _MOST_FREE = 16, 10_000
_kept: list[object] = []


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
    and not into gaps of thousands of shared ones. And Python forgets which names it has looked up:
    it counts them, so each process would write to those that it replaces by its own.
    """
    gc.collect()
    _fill_pools()
    _fill_gaps()
    gc.freeze()
    _forget_names()


def _forget_names() -> None:
    # From Python 3.13 on.
    forget = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache
    forget()


def _fill_pools() -> None:
    """Allocate for good what Python has free in its pools, a few thousand blocks."""
    for size, make in _POOLS:
        blocks: list[object] = [None]
        row = 0
        while row < _IN_A_ROW and len(blocks) < _MOST_FREE:
            blocks.append(make())
            row = row + 1 if id(blocks[-1]) == id(blocks[-2]) + size else 0
        # Where Python allocates in another way, there is no such row.
        if row == _IN_A_ROW:
            _kept.extend(blocks[:-_IN_A_ROW])


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

"""The memory of a JavaScript realm, which can be restored.

All that the engine knows of a realm stands in the memory that it asks for. So a realm that was made
once is new again when every byte of that memory is what it was: nothing that a message did is left,
and nothing has to be made anew. The engine cuts small objects out of blocks of 4 kB itself, so it
asks here seldom. Code that makes many large objects is slower this way; `Heap.calls` tells.

    Heap        the memory of one realm
    Functions   what the engine calls
"""

from __future__ import annotations

import ctypes
import itertools
import mmap

# The sizes of blocks are multiples of this one, so that freed ones fit again.
_STEP = 64

_libc = ctypes.PyDLL(None)
_malloc, _free = _libc.malloc, _libc.free
_malloc.restype, _malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
_free.restype, _free.argtypes = None, (ctypes.c_void_p,)


class Full(Exception):
    """What is to be kept is larger than the memory of the heap."""


class Heap:
    """Belongs to one thread, and is to be closed."""

    def __init__(self, size: int) -> None:
        """`size`: how many bytes can be kept; what a message needs beyond them is had elsewhere.

        Raises MemoryError.
        """
        self.calls = 0
        try:
            memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError:
            raise MemoryError from None
        self._memory = ctypes.c_char.from_buffer(memory)
        self._start = self._end = ctypes.addressof(self._memory)
        self._limit = self._start + size
        # The blocks in the memory since it was kept, and those that are free again by their sizes.
        self._made: list[int] = []
        self._unused: dict[int, list[int]] = {}
        self._elsewhere: set[int] = set()
        self._kept: list[int] = []
        self._image = b""
        self.number = next(_numbers)
        _heaps[self.number] = self

    def keep(self) -> None:
        """Keep the memory as it is now, for `restore`. Raises Full."""
        if self._elsewhere:
            raise Full
        self._image = ctypes.string_at(self._start, self._end - self._start)
        self._kept, self._made = self._made, []
        self._unused = {}
        self.calls = 0

    def restore(self) -> None:
        """Make the memory what it was when it was kept, and clear what was used beyond it."""
        size = len(self._image)
        ctypes.memmove(self._start, self._image, size)
        if self.calls == 0:
            # No block was made or given back.
            return
        self._drop()
        kept_end = self._start + size
        ctypes.memset(kept_end, 0, self._end - kept_end)
        self._end = kept_end
        self._unused = {}
        self.calls = 0

    def close(self) -> None:
        self._drop()
        for place in self._kept:
            del _sizes[place]
        self._kept = []
        del _heaps[self.number]

    def _drop(self) -> None:
        for place in self._made:
            del _sizes[place]
        self._made = []
        for place in self._elsewhere:
            del _sizes[place]
            _free(place)
        self._elsewhere = set()

    def take(self, size: int) -> int | None:
        """Return a new block; None: there is no memory left."""
        self.calls += 1
        size = (size + _STEP - 1) & -_STEP
        if unused := self._unused.get(size):
            return unused.pop()
        if self._end + size > self._limit:
            return self._take_elsewhere(size)
        place = self._end
        self._end += size
        self._made.append(place)
        _sizes[place] = size
        return place

    def _take_elsewhere(self, size: int) -> int | None:
        place: int | None = _malloc(size)
        if place is not None:
            self._elsewhere.add(place)
            _sizes[place] = size
        return place

    def give_back(self, place: int) -> None:
        self.calls += 1
        if self._start <= place < self._limit:
            self._unused.setdefault(_sizes[place], []).append(place)
            return
        self._elsewhere.discard(place)
        del _sizes[place]
        _free(place)

    def change(self, place: int, size: int) -> int | None:
        """Return a block of this size with what was in another, which is given back."""
        before = _sizes[place]
        # Where much of a large one is left it is to be had by others.
        if before // 2 <= size <= before:
            return place
        changed = self.take(size)
        if changed is not None and changed != place:
            ctypes.memmove(changed, place, min(before, size))
            self.give_back(place)
        return changed


_heaps: dict[int, Heap] = {}
_numbers = itertools.count(1)
# Of every block of every heap.
_sizes: dict[int, int] = {}

_pointer, _size = ctypes.c_void_p, ctypes.c_size_t


# Made once: in its sandbox a host cannot make another. An exception would leave the engine with any
# address, so each of these returns none instead.
@ctypes.PYFUNCTYPE(_pointer, _pointer, _size, _size)
def _on_calloc(heap: int, count: int, size: int) -> int | None:
    try:
        place = _heaps[heap].take(count * size)
        if place is not None:
            ctypes.memset(place, 0, count * size)
        return place
    except BaseException:
        return None


@ctypes.PYFUNCTYPE(_pointer, _pointer, _size)
def _on_malloc(heap: int, size: int) -> int | None:
    try:
        return _heaps[heap].take(size)
    except BaseException:
        return None


@ctypes.PYFUNCTYPE(None, _pointer, _pointer)
def _on_free(heap: int, place: int | None) -> None:
    if place is not None:
        _heaps[heap].give_back(place)


@ctypes.PYFUNCTYPE(_pointer, _pointer, _pointer, _size)
def _on_realloc(heap: int, place: int | None, size: int) -> int | None:
    try:
        own = _heaps[heap]
        return own.take(size) if place is None else own.change(place, size)
    except BaseException:
        return None


@ctypes.PYFUNCTYPE(_size, _pointer)
def _on_usable_size(place: int | None) -> int:
    return 0 if place is None else _sizes[place]


class Functions(ctypes.Structure):
    """JSMallocFunctions. The engine copies it."""

    _fields_ = tuple(
        (name, type(function))
        for name, function in (
            ("calloc", _on_calloc),
            ("malloc", _on_malloc),
            ("free", _on_free),
            ("realloc", _on_realloc),
            ("usable_size", _on_usable_size),
        )
    )


FUNCTIONS = Functions(_on_calloc, _on_malloc, _on_free, _on_realloc, _on_usable_size)

# They stay for ever: an interpreter that ends in a sandbox could not free their code.
for _each in (_on_calloc, _on_malloc, _on_free, _on_realloc, _on_usable_size):
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_each))

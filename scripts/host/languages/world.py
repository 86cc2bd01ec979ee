"""A realm with everything of a script but a message: no line of the script has run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scripts.host.interruption import Interrupted, is_interrupted
from scripts.host.languages import prelude as parts_of_prelude
from scripts.host.languages import quickjs
from scripts.host.languages.heap import Full, Heap
from scripts.host.languages.prelude import Prelude
from scripts.host.languages.quickjs import Realm, Thrown, Value

# As in prelude/core.js.
START, PART, RUN, TAKE, SETTLE, FAIL, DESCRIBE, GIVE, SOURCE, END, SCRIPT, BEGIN = map(
    quickjs.integer, range(12)
)

# Messages that get worlds of their own after one that was slower in a kept world.
_MADE_ANEW = 50
_SMALLEST_HEAP = 1024 * 1024
_LARGEST_HEAP = 64 * _SMALLEST_HEAP


class World:
    """Is made for one message and closed, or is kept and restored after each."""

    def __init__(
        self, realm: Realm, prelude: Prelude, libraries: Sequence[bytes], code: bytes
    ) -> None:
        """Fill the realm. Raises Thrown."""
        self.realm = realm
        self.prelude = prelude
        self.engine = realm.keep(realm.run(prelude.core))
        sources = map(parts_of_prelude.source_of, ("unserializable", "copies"))
        self._call(SOURCE, *map(realm.string, sources))
        self._call(PART, realm.run(parts_of_prelude.random()))
        for part, make_data in prelude.parts:
            given = [] if make_data is None else [realm.string(make_data())]
            self._call(PART, realm.run(part), *given)
        self.messenger = None
        if prelude.log is not None:
            log = realm.run(prelude.log)
            showing = realm.string(parts_of_prelude.source_of("showing"))
            self.messenger = realm.keep(realm.call(self.engine, PART, log, showing))
            realm.free(log, showing)
        # Those that are made of the message, and what makes the data that they are given.
        self.parts: list[tuple[Value, Callable[[], bytes] | None]] = [
            (realm.keep(realm.run(part)), make_data) for part, make_data in prelude.message_parts
        ]
        self._numerals: Value | None = None
        self.libraries = [realm.read(library) for library in libraries]
        self._call(SCRIPT, realm.run(code))
        # Whether nothing comes between a message and the script.
        self.is_plain = not self.libraries and not self.parts and not prelude.has_clock

    def prepare_numerals(self) -> None:
        """Make the part numerals, for messages that need it. Raises Thrown."""
        self._numerals = self.realm.keep(self.realm.run(parts_of_prelude.numerals()))

    def numerals(self) -> Value:
        """Return the part that remembers how numbers were written; the caller frees it."""
        if self._numerals is None:
            return self.realm.run(parts_of_prelude.numerals())
        return self.realm.shared(self._numerals)

    def _call(self, *arguments: Value) -> None:
        self.realm.free(self.realm.call(self.engine, *arguments))
        self.realm.free(*arguments)


class Worlds:
    """Makes the worlds of a script."""

    def __init__(
        self, prelude: Prelude, libraries: Sequence[bytes], code: bytes, memory_bytes: int
    ) -> None:
        self._content = prelude, libraries, code
        self._memory_bytes = memory_bytes
        self._kept: dict[frozenset[str], World | None] = {}
        self._makes_anew = 0

    def one_without(self, omitted: frozenset[str]) -> World:
        """Return a world in which nothing has happened, without these built-ins.

        Raises MemoryError and Interrupted.
        """
        if self._makes_anew:
            self._makes_anew -= 1
            return self._made(omitted)
        if omitted not in self._kept:
            try:
                self._kept[omitted] = self._made_to_keep(omitted)
            except MemoryError:
                # Without a copy of itself there may be room for it.
                world = self._made(omitted)
                self._kept[omitted] = None
                return world
        return self._kept[omitted] or self._made(omitted)

    def take_back(self, world: World) -> None:
        """Restore a world, or close it."""
        if world not in self._kept.values():
            world.realm.close()
            return
        if world.realm.is_slowed:
            self._makes_anew = _MADE_ANEW
        world.realm.restore()

    def close(self) -> None:
        for world in self._kept.values():
            if world is not None:
                world.realm.close()
        self._kept = {}

    def _made_to_keep(self, omitted: frozenset[str]) -> World | None:
        """Return a world to be kept; None: it would be too large."""
        size = _SMALLEST_HEAP
        while size <= _LARGEST_HEAP:
            world = self._made(omitted, Heap(size))
            try:
                world.realm.keep_state()
            except Full:
                world.realm.close()
                size *= 2
            except MemoryError:
                world.realm.close()
                raise
            else:
                return world
        return None

    def _made(self, omitted: frozenset[str], heap: Heap | None = None) -> World:
        realm = Realm(self._memory_bytes, omitted=omitted, heap=heap)
        try:
            world = World(realm, *self._content)
            if not parts_of_prelude.BUILT_INS_OF_NUMERALS & omitted:
                world.prepare_numerals()
            return world
        except Thrown:
            realm.close()
            # The prelude itself throws nothing.
            raise (Interrupted if is_interrupted() else MemoryError) from None

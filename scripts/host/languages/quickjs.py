"""QuickJS, the JavaScript engine, by its own C interface.

The package quickjs-ng has the engine and a Python interface that takes source text only: each realm
would parse script and libraries anew, which takes ten times as long as reading bytecode. The
extension module exports the functions of quickjs.h, which are used here.

    compiled    source text -> bytecode, which any Realm of this process reads
    Realm       a world of JavaScript, which can be restored
    preload     load the engine, which opens a file
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import re
import resource
from collections.abc import Callable, Collection
from typing import Any

from scripts.host.interruption import is_interrupted
from scripts.host.languages import heap
from scripts.host.languages.heap import Heap

_VERSION = "0.17."
# The bytes of stack for JavaScript, of usually 8 MB; -1 is no limit.
_stack_limit = resource.getrlimit(resource.RLIMIT_STACK)[0]
_STACK_BYTES = 4 * 1024 * 1024
if _stack_limit >= 0:
    _STACK_BYTES = min(_STACK_BYTES, _stack_limit // 2)
_COMPILE_STACK_BYTES = 256 * 1024

_COMPILE_ONLY = 1 << 5
_BYTECODE = 1 << 0
_STRIP_SOURCE = 1 << 4
_OPTIONS_VERSION = 1

# The calls of a heap that take about as long as making a realm.
_MOST_CALLS = 200

_LINE = re.compile(r":(\d+):(\d+)$", re.MULTILINE)


# The parts that JS_NewContext adds to a context, in its order as far as that matters. They take
# most of the time of making a realm.
_REQUIRED = (
    "JS_AddIntrinsicBaseObjects",
    "JS_AddIntrinsicDate",
    "JS_AddIntrinsicEval",
    "JS_AddIntrinsicRegExp",
    "JS_AddIntrinsicJSON",
    "JS_AddIntrinsicPromise",
)
# Optional parts, with the names that code reaches them with.
OPTIONAL = {
    "JS_AddIntrinsicProxy": r"Proxy",
    "JS_AddIntrinsicMapSet": r"Map|Set|WeakMap|WeakSet",
    "JS_AddIntrinsicTypedArrays": (
        r"(Shared)?ArrayBuffer|(Big)?(Int|Uint|Float)\d+(Clamped)?Array|DataView|Atomics"
        # Members of answers, which are typed arrays.
        r"|bytes"
    ),
    "JS_AddIntrinsicWeakRef": r"WeakRef|FinalizationRegistry",
    "JS_AddIntrinsicAToB": r"atob|btoa|DOMException",
}
# Counts from when it is added.
CLOCK = "JS_AddPerformance"


# The engine cuts objects of up to 512 bytes out of blocks, each for one size. `_SMALL`: the sizes.
# `_HEAD`: what a text takes besides its characters. `_FREE_OF_EACH`: the bytes of each size that a
# kept realm has free.
_SMALL = range(32, 512, 8)
_HEAD = 24
_FREE_OF_EACH = 1024


# How often an interrupted realm is left alone before it is stopped again.
_SPARE_POLLS = 3


class EngineMissing(Exception):
    """JavaScript cannot be run: the package quickjs-ng is not installed in the expected version."""


class SyntaxFault(Exception):
    """The source text is no JavaScript."""

    def __init__(self, message: str, line: int | None, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class Thrown(Exception):
    """JavaScript threw a value; the realm keeps it until `Realm.take_thrown`."""


class Value(ctypes.Structure):
    """JSValue as it is where pointers have 64 bits. Those with a negative tag are counted."""

    _fields_ = (("content", ctypes.c_int64), ("tag", ctypes.c_int64))


class _Options(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("flags", ctypes.c_int),
        ("file", ctypes.c_char_p),
        ("line", ctypes.c_int),
    )


# By the number of values.
_ARRAYS = [Value * count for count in range(8)]
_INTEGER, _NULL, _UNDEFINED, _EXCEPTION = 0, 2, 3, 6
UNDEFINED = Value(0, _UNDEFINED)


def integer(number: int) -> Value:
    return Value(number, _INTEGER)


class _MemoryUsage(ctypes.Structure):
    _fields_ = (
        ("taken", ctypes.c_int64),
        ("limit", ctypes.c_int64),
        ("others", ctypes.c_int64 * 24),
    )


class _Engine:
    """The C functions. None releases the GIL."""

    def __init__(self) -> None:
        try:
            library = ctypes.PyDLL(str(importlib.import_module("_quickjs").__file__))
            self._declare(library)
        except (ImportError, OSError, AttributeError) as error:
            raise EngineMissing(f"{EngineMissing.__doc__} ({error})") from None
        version = self.get_version().decode()
        if ctypes.sizeof(ctypes.c_void_p) != 8 or not version.startswith(_VERSION):
            raise EngineMissing(f"{EngineMissing.__doc__} (found {version})")

    def _declare(self, library: ctypes.PyDLL) -> None:
        pointer, size, text, number = (
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_char_p,
            ctypes.c_int,
        )
        values = ctypes.POINTER(Value)

        def function(name: str, result: Any, *arguments: Any) -> Any:
            found = getattr(library, name)
            found.restype, found.argtypes = result, arguments
            return found

        self.get_version = function("JS_GetVersion", text)
        self.new_runtime = function("JS_NewRuntime", pointer)
        self.new_runtime_in = function(
            "JS_NewRuntime2", pointer, ctypes.POINTER(heap.Functions), pointer
        )
        self.free_runtime = function("JS_FreeRuntime", None, pointer)
        self.set_memory_limit = function("JS_SetMemoryLimit", None, pointer, size)
        self.set_max_stack_size = function("JS_SetMaxStackSize", None, pointer, size)
        self.update_stack_top = function("JS_UpdateStackTop", None, pointer)
        self.set_rejection_tracker = function(
            "JS_SetHostPromiseRejectionTracker", None, pointer, pointer, pointer
        )
        self.set_interrupt_handler = function(
            "JS_SetInterruptHandler", None, pointer, pointer, pointer
        )
        self.new_context = function("JS_NewContextRaw", pointer, pointer)
        self.built_ins = [
            (name, function(name, number, pointer)) for name in (*_REQUIRED, *OPTIONAL)
        ]
        self.add_clock = function(CLOCK, number, pointer)
        self.free_context = function("JS_FreeContext", None, pointer)
        self.compute_memory_usage = function(
            "JS_ComputeMemoryUsage", None, pointer, ctypes.POINTER(_MemoryUsage)
        )
        self.evaluate = function("JS_Eval2", Value, pointer, text, size, ctypes.POINTER(_Options))
        self.write_object = function(
            "JS_WriteObject", pointer, pointer, ctypes.POINTER(size), Value, number
        )
        self.free_written = function("js_free", None, pointer, pointer)
        self.read_object = function("JS_ReadObject", Value, pointer, text, size, number)
        self.run_function = function("JS_EvalFunction", Value, pointer, Value)
        self.call = function("JS_Call", Value, pointer, Value, Value, number, values)
        self.run_job = function("JS_ExecutePendingJob", number, pointer, ctypes.POINTER(pointer))
        self.take_exception = function("JS_GetException", Value, pointer)
        self.new_string = function("JS_NewStringLen", Value, pointer, text, size)
        self.to_text = function(
            "JS_ToCStringLen2", pointer, pointer, ctypes.POINTER(size), Value, ctypes.c_bool
        )
        self.free_text = function("JS_FreeCString", None, pointer, pointer)
        self.get_property = function("JS_GetPropertyStr", Value, pointer, Value, text)
        self.duplicate = function("JS_DupValue", Value, pointer, Value)
        self.free = function("JS_FreeValue", None, pointer, Value)


@functools.cache
def engine() -> _Engine:
    """Load the engine once. Raises EngineMissing."""
    return _Engine()


def preload() -> None:
    """Load the engine, if it is there."""
    try:
        engine()
    except EngineMissing:
        return


class Realm:
    """A JavaScript world with its own globals and its own heap.

    Belongs to one thread, and is to be closed.
    """

    def __init__(
        self,
        memory_bytes: int = 0,
        stack_bytes: int = _STACK_BYTES,
        omitted: Collection[str] = (),
        heap: Heap | None = None,
    ) -> None:
        """Make a realm that may take this number of bytes, 0 for no limit. Raises MemoryError.

        `omitted` names parts of OPTIONAL to leave out. With a heap, which is closed with the realm,
        it can be restored.
        """
        self._engine = engine()
        self._heap = heap
        self.spare_polls = 0
        self._context: int | None = None
        self._kept: list[Value] = []
        self._rejections: dict[int, tuple[Value, Value]] = {}
        self._messenger: Value | None = None
        self._on_message: Callable[[bytes], None] | None = None
        # Whether the engine has stopped the code because `is_interrupted` said so, and whether it
        # is to stop no more.
        self.was_interrupted = self.is_deaf = False
        self._runtime = self._new_runtime()
        if not self._runtime:
            self.close()
            raise MemoryError
        if memory_bytes:
            self._engine.set_memory_limit(self._runtime, memory_bytes)
        self._engine.set_max_stack_size(self._runtime, stack_bytes)
        self._context = self._engine.new_context(self._runtime)
        if not self._context:
            self.close()
            raise MemoryError
        _realms[self._context] = self
        for name, add in self._engine.built_ins:
            if name not in omitted and add(self._context) < 0:
                self.close()
                raise MemoryError
        self._engine.set_rejection_tracker(self._runtime, _on_rejection, None)
        self._engine.set_interrupt_handler(self._runtime, _on_interrupt, None)

    def _new_runtime(self) -> int | None:
        if self._heap is None:
            made: int | None = self._engine.new_runtime()
        else:
            made = self._engine.new_runtime_in(heap.FUNCTIONS, self._heap.number)
        return made

    def add_clock(self) -> None:
        """Begin to count the time that `performance` tells. Raises MemoryError."""
        if self._engine.add_clock(self._context) < 0:
            raise MemoryError

    def keep_state(self) -> None:
        """Keep the realm as it is now, for `restore`. Raises heap.Full and MemoryError.

        None of its code may be running, here and there.
        """
        if self._heap is not None:
            self._make_room()
            self._heap.keep()

    def _make_room(self) -> None:
        """Have free room for small objects, so that few messages ask the heap for any."""
        try:
            for size in _SMALL:
                text = bytes(size - _HEAD)
                *others, last = [self.string(text) for _ in range(1 + _FREE_OF_EACH // size)]
                # It stays, and with it the block that had room for the others.
                self.keep(last)
                self.free(*others)
        except Thrown:
            raise MemoryError from None

    @property
    def is_slowed(self) -> bool:
        """Whether code has used memory in a way that takes longer than making a realm anew."""
        return self._heap is not None and self._heap.calls > _MOST_CALLS

    def restore(self) -> None:
        """Make the realm what it was when its state was kept: nothing since then is left."""
        if self._heap is None:
            raise RuntimeError("nothing was kept")
        self._heap.restore()
        self._engine.update_stack_top(self._runtime)
        self._rejections.clear()
        self._messenger = self._on_message = None
        self.was_interrupted = self.is_deaf = False

    def close(self) -> None:
        if self._heap is not None:
            # Without its memory there is nothing to free.
            _realms.pop(self._context or 0, None)
            self._heap.close()
            self._heap = self._context = self._runtime = None
        if self._context:
            del _realms[self._context]
            self.free(*self._kept)
            for values in self._rejections.values():
                self.free(*values)
            self._engine.free_context(self._context)
            self._context = None
        if self._runtime:
            self._engine.free_runtime(self._runtime)
            self._runtime = None

    def run(self, bytecode: bytes) -> Value:
        """Run bytecode and return its value, which the caller frees. Raises Thrown."""
        return self._checked(self._engine.run_function(self._context, self._read(bytecode)))

    def read(self, bytecode: bytes) -> Value:
        """Read bytecode that `run_read` runs; it is freed with the realm. Raises Thrown."""
        return self.keep(self._read(bytecode))

    def run_read(self, code: Value) -> Value:
        """Run what was read and return its value, which the caller frees. Raises Thrown."""
        return self._checked(self._engine.run_function(self._context, self.shared(code)))

    def _read(self, bytecode: bytes) -> Value:
        return self._checked(
            self._engine.read_object(self._context, bytecode, len(bytecode), _BYTECODE)
        )

    def call(self, function: Value, *arguments: Value) -> Value:
        """Call a function and return its value, which the caller frees. Raises Thrown."""
        count = len(arguments)
        values = _ARRAYS[count](*arguments)
        return self._checked(self._engine.call(self._context, function, UNDEFINED, count, values))

    def run_jobs(self) -> bool:
        """Run the jobs that wait for settled promises; return whether any did. Raises Thrown."""
        run_job, runtime = self._engine.run_job, self._runtime
        context = ctypes.c_void_p()
        has_run = False
        while True:
            done = run_job(runtime, context)
            self.is_deaf = self.was_interrupted
            if done == 0:
                return has_run
            if done < 0:
                raise Thrown
            has_run = True

    def listen(self, messenger: Value, on_message: Callable[[bytes], None]) -> None:
        """Have a function called, at once, with a text that code puts into `messenger.text`.

        The code rejects a promise with the messenger, which is otherwise never done: the engine
        tells that while the code runs.
        """
        self._messenger, self._on_message = messenger, on_message

    def take_rejection(self) -> Value | None:
        """Return the reason of the first unhandled rejection; the caller frees it."""
        if not self._rejections:
            return None
        promise, reason = self._rejections.pop(next(iter(self._rejections)))
        self.free(promise)
        return reason

    def take_thrown(self) -> Value:
        """Return the value that was thrown last; the caller frees it."""
        thrown: Value = self._engine.take_exception(self._context)
        return thrown

    def string(self, text: bytes) -> Value:
        """Make a string of text in UTF-8; the caller frees it. Raises Thrown."""
        return self._checked(self._engine.new_string(self._context, text, len(text)))

    def text(self, value: Value) -> bytes:
        """Return a value as a text in UTF-8. Raises Thrown."""
        size = ctypes.c_size_t()
        pointer = self._engine.to_text(self._context, size, value, False)
        if not pointer:
            raise Thrown
        try:
            return ctypes.string_at(pointer, size.value)
        finally:
            self._engine.free_text(self._context, pointer)

    def is_full(self) -> bool:
        """Whether hardly any memory is left below the limit."""
        usage = _MemoryUsage()
        self._engine.compute_memory_usage(self._runtime, usage)
        return 0 < usage.limit < usage.taken * 1.05

    def keep(self, value: Value) -> Value:
        """Have a value freed with the realm."""
        self._kept.append(value)
        return value

    def shared(self, value: Value) -> Value:
        """Return a value that is kept once more; the caller frees it."""
        again: Value = self._engine.duplicate(self._context, value)
        return again

    def free(self, *values: Value) -> None:
        for value in values:
            if value.tag < 0:
                self._engine.free(self._context, value)

    def compile(self, source: bytes, file: bytes, first_line: int, flags: int) -> bytes:
        options = _Options(_OPTIONS_VERSION, _COMPILE_ONLY, file, first_line)
        function = self._engine.evaluate(self._context, source, len(source), options)
        if function.tag == _EXCEPTION:
            raise self._syntax_fault()
        size = ctypes.c_size_t()
        pointer = self._engine.write_object(self._context, size, function, flags)
        self.free(function)
        if not pointer:
            raise MemoryError
        try:
            return ctypes.string_at(pointer, size.value)
        finally:
            self._engine.free_written(self._context, pointer)

    def _syntax_fault(self) -> SyntaxFault:
        error = self.take_thrown()
        stack = self._engine.get_property(self._context, error, b"stack")
        try:
            message = self.text(error).decode(errors="replace")
            line = _LINE.search(self.text(stack).decode(errors="replace"))
        except Thrown:
            return SyntaxFault("It is too large or too deeply nested.", None)
        finally:
            self.free(stack, error)
        message = message.removeprefix("SyntaxError: ")
        return (
            SyntaxFault(message, int(line[1]), int(line[2])) if line else SyntaxFault(message, None)
        )

    def _checked(self, value: Value) -> Value:
        # What follows an interruption is to tell where it came.
        self.is_deaf = self.was_interrupted
        if value.tag == _EXCEPTION:
            raise Thrown
        return value

    def _note_rejection(self, promise: Value, reason: Value, is_handled: bool) -> None:
        messenger = self._messenger
        if messenger is not None and reason.content == messenger.content:
            self._pass_on(messenger)
        elif is_handled:
            self.free(*self._rejections.pop(promise.content, ()))
        else:
            duplicate = self._engine.duplicate
            self._rejections[promise.content] = (
                duplicate(self._context, promise),
                duplicate(self._context, reason),
            )

    def _pass_on(self, messenger: Value) -> None:
        text = self._engine.get_property(self._context, messenger, b"text")
        try:
            if self._on_message is not None:
                self._on_message(self.text(text))
        except Thrown:
            self.free(self.take_thrown())
        finally:
            self.free(text)


def compiled(source: str, file: str, first_line: int = 1, *, keep_source: bool = True) -> bytes:
    """Return the bytecode of source text without running any of it.

    `line` is the number of its first line in messages. With the source kept, functions can be shown
    as text. Raises SyntaxFault or EngineMissing.
    """
    flags = _BYTECODE if keep_source else _BYTECODE | _STRIP_SOURCE
    realm = Realm(stack_bytes=_COMPILE_STACK_BYTES)
    try:
        return realm.compile(source.encode(), file.encode(errors="replace"), first_line, flags)
    finally:
        realm.close()


_realms: dict[int, Realm] = {}


# Made once: in its sandbox a host cannot make another.
@ctypes.PYFUNCTYPE(None, ctypes.c_void_p, Value, Value, ctypes.c_bool, ctypes.c_void_p)
def _tracker(context: int, promise: Value, reason: Value, is_handled: bool, _: None) -> None:
    realm = _realms.get(context)
    if realm is not None:
        realm._note_rejection(promise, reason, is_handled)


_on_rejection = ctypes.cast(_tracker, ctypes.c_void_p)


# The engine calls this now and then, also within a long regular expression.
@ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def _interrupter(runtime: int, _: None) -> int:
    if not is_interrupted():
        return 0
    is_stopped = False
    for realm in _realms.values():
        if realm._runtime == runtime and not realm.is_deaf:
            if not realm.was_interrupted:
                realm.spare_polls = _SPARE_POLLS
            elif realm.spare_polls > 0:
                # The place of the interruption is being told, by prelude/naming.js.
                realm.spare_polls -= 1
                continue
            realm.was_interrupted = is_stopped = True
    return is_stopped


_on_interrupt = ctypes.cast(_interrupter, ctypes.c_void_p)

"""JavaScript scripts: ``context.Data`` is the message, ``setData(output)`` gives the output.

Each message gets a realm of its own, with libraries and script evaluated anew from bytecode, so
that nothing is left for the next. A script is the body of an async function. What it finds there,
besides the language, is in ``prelude.js``.
"""

import functools
import json
import random
import re
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from scripts.envelope import check_size, decode, plain_text
from scripts.errors import (
    OutputInvalid,
    ScriptError,
    ScriptInvalid,
    ScriptRaised,
    ScriptRejected,
    ScriptRetry,
)
from scripts.languages import quickjs
from scripts.languages.quickjs import EngineMissing, Realm, SyntaxFault, Thrown, Value

if TYPE_CHECKING:
    from scripts.context import Context

# What prelude.js is to do.
_START, _RUN, _TAKE, _SETTLE, _FAIL = map(quickjs.integer, range(5))

_PRELUDE_FILE = "<engine>"
# Its own lines in a stack tell nobody anything.
_PRELUDE_FRAMES = re.compile(r"\n    at [^\n]*\(<engine>:\d+:\d+\)(?=\n|$)")
# The script stands on line 1.
_BEFORE = "(async function ()\n{\n"
_AFTER = "\n})"
_LINES_BEFORE = 2
_MAX_MESSAGE_LENGTH = 2000
_MAX_PLACE_LENGTH = 200
# Left for what is not JavaScript's: the texts that go in and out, and what is made of them.
_MEMORY_SHARE = 0.85

# A number has 53 bits. Integers beyond that come with 16 digits or more.
_DIGITS_AS_ZEROS = bytes(ord("0") if chr(byte).isdigit() else ord(" ") for byte in range(256))
_LONG_NUMBER = b"0" * 16
_STRING_OR_LONG_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d{16,}(?:[.eE][-+.\deE]*)?')
_MAX_NUMBER = 2**53 - 1

_NO_NAME = re.compile(r"^    at <(?:anonymous|eval)> \((.*)\)$")
_FRAME = re.compile(r"^(    at .*?)(\(?)([^()\n]*):(\d+):(\d+)\)?$")


class JavaScriptScript:
    """A JavaScript script, compiled once and run in a fresh realm for each message."""

    def __init__(
        self, name: str, code: str, libraries: Sequence[tuple[str, str]] = (), memory_mb: int = 0
    ) -> None:
        """Compile. Raises ScriptInvalid; runs nothing."""
        file = _file(name)
        self._lines = {file: code.splitlines()}
        self._libraries: list[bytes] = []
        for library, library_code in libraries:
            library_file = _file(f"library {library}")
            self._lines[library_file] = library_code.splitlines()
            try:
                self._libraries.append(_compiled_library(library_file, library_code))
            except SyntaxFault as fault:
                # Without its line, which is none of the script's.
                raise ScriptInvalid(f"{library_file}, {_told(fault)}") from None
        try:
            self._code = _compiled_script(file, code)
        except SyntaxFault as fault:
            raise ScriptInvalid(_told(fault), line=fault.line) from None
        if not any("setData" in each for each in (code, *(code for _, code in libraries))):
            raise ScriptInvalid("The script never calls setData(output).")
        self._peak_at_start = _peak_bytes()
        self._memory_bytes = int(memory_mb * 2**20 * _MEMORY_SHARE)
        self._realm: Realm | None = None

    def run(self, body: bytes, context: "Context") -> Any:
        self._realm = Realm(self._memory_bytes)
        try:
            text = _Execution(self._realm, context).run(body, self._libraries, self._code)
            # Reading it takes many times as much.
            check_size(text)
            return decode(text)
        except Thrown:
            raise _surprise(self._realm) from None
        except _Failed as error:
            if error.may_be_memory == "yes" or (error.may_be_memory and self._has_been_large()):
                raise MemoryError from None
            raise

    def explain(self, error: BaseException) -> ScriptError:
        if isinstance(error, _Failed):
            return ScriptRaised(
                plain_text(error.message, _MAX_MESSAGE_LENGTH), traceback=self._stack(error.stack)
            )
        return ScriptRaised(plain_text(f"{type(error).__name__}: {error}", _MAX_MESSAGE_LENGTH))

    def forget(self) -> None:
        if self._realm is not None:
            self._realm.close()
            self._realm = None

    def _has_been_large(self) -> bool:
        """Tell whether memory may have been short.

        Where none is left, not even an error can be made, and what is thrown is null.
        """
        return 0 < self._memory_bytes < 4 * (_peak_bytes() - self._peak_at_start)

    def _stack(self, stack: str) -> str:
        return "\n".join(self._stack_lines(stack)).rstrip()

    def _stack_lines(self, stack: str) -> Iterator[str]:
        """Yield the lines of a stack, each frame with the line of source that it is at."""
        for line in _PRELUDE_FRAMES.sub("", stack).splitlines():
            yield _NO_NAME.sub(r"    at \1", line)
            frame = _FRAME.match(line)
            source = self._lines.get(frame[3], []) if frame else []
            if frame and 0 < int(frame[4]) <= len(source):
                yield f"        {source[int(frame[4]) - 1].strip()[:200]}"


def preload() -> None:
    """Load the engine and the prelude, which are files."""
    try:
        _prelude()
    except EngineMissing:
        return


def syntax_fault(code: str, *, is_library: bool = False) -> SyntaxFault | None:
    """Return why the code does not compile, if it does not, without running any of it."""
    try:
        if is_library:
            _compiled_library("library", code)
        else:
            _compiled_script("script", code)
    except SyntaxFault as fault:
        return fault
    return None


class _Failed(Exception):
    """The script threw, or ended otherwise without an output."""

    def __init__(self, message: str, stack: str = "", may_be_memory: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.stack = stack
        self.may_be_memory = may_be_memory


class _Execution:
    """One message's way through a realm."""

    def __init__(self, realm: Realm, context: "Context") -> None:
        self._realm = realm
        self._context = context
        self._engine = realm.keep(realm.run(_prelude()))
        # Requests under way: their number with the worker -> the script's number for them.
        self._under_way: dict[int, int] = {}

    def run(self, body: bytes, libraries: Sequence[bytes], code: bytes) -> bytes:
        """Return the output as JSON text. Raises ScriptError, _Failed or Thrown."""
        self._start(body)
        try:
            for library in libraries:
                self._realm.free(self._realm.run(library))
            script = self._realm.run(code)
        except Thrown:
            self._fail(self._realm.take_thrown())
        else:
            self._call(_RUN, script)
        while True:
            self._run_jobs()
            output = self._take()
            if output is not None and not self._under_way:
                self._look_for_rejections()
                return output
            if self._under_way:
                self._settle(*self._context.wait())

    def _start(self, body: bytes) -> None:
        context = self._context
        facts: tuple[Any, ...] = (
            context.correlation_id,
            context.flow,
            context.step,
            context.queue,
            context.attempt,
            context.delivery_id,
            [random.getrandbits(31) for _ in range(3)],
            dict(context.secrets),
        )
        marked = _with_long_integers_marked(body)
        text = self._realm.string(body if marked is None else marked)
        is_marked = quickjs.integer(marked is not None)
        self._call(_START, text, self._realm.string(orjson.dumps(facts)), is_marked)

    def _run_jobs(self) -> None:
        try:
            self._realm.run_jobs()
        except Thrown:
            self._fail(self._realm.take_thrown())

    def _take(self) -> bytes | None:
        """Do what the script asks for, and return its output if it has come to its end."""
        value = self._realm.call(self._engine, _TAKE)
        text = self._realm.text(value)
        self._realm.free(value)
        if text[:1] != b" ":
            return text
        # Unlike orjson this reads lone surrogates, which a script may log.
        state = json.loads(text)
        for at, level, line in state["logs"]:
            self._context.log(_PRELUDE_FRAMES.sub("", line).rstrip(), level, at)
        self._raise_end(state)
        for number, request in state["requests"]:
            self._under_way[self._context.ask("http", request)] = number
        if self._under_way:
            return None
        self._look_for_rejections()
        if not state["isSettled"]:
            if self._realm.is_full():
                raise MemoryError
            raise _Failed("The script waits for a promise that nothing will settle.")
        if not state["hasOutput"]:
            raise OutputInvalid("The script did not call setData(output).", place="$")
        return None

    def _raise_end(self, state: dict[str, Any]) -> None:
        """Raise what the script has decided or come to, if it has."""
        if verdict := state.get("verdict"):
            reason = plain_text(verdict["reason"], _MAX_MESSAGE_LENGTH)
            if verdict["what"] == "reject":
                raise ScriptRejected(reason=reason)
            raise ScriptRetry(after=verdict.get("after"), reason=reason)
        if failure := state.get("failure"):
            if "place" in failure:
                place = _shortened(failure["place"])
                raise OutputInvalid(f"{place} {failure['reason']}", place=place)
            raise _Failed(failure["message"], failure["stack"], failure.get("mayBeMemory", ""))

    def _look_for_rejections(self) -> None:
        """Raise what a promise was rejected with, if nobody has asked that promise."""
        reason = self._realm.take_rejection()
        if reason is not None:
            self._fail(reason)
            self._take()

    def _settle(self, number: int, reply: dict[str, Any]) -> None:
        request = self._under_way.pop(number, None)
        if request is None:
            # It was asked for by an earlier message, which did not wait for it.
            return
        arguments = [quickjs.integer(request), self._realm.string(orjson.dumps(reply))]
        data = _with_long_integers_marked(str(reply.get("body", "")).encode())
        if data is not None:
            arguments.append(self._realm.string(data))
        self._call(_SETTLE, *arguments)

    def _fail(self, thrown: Value) -> None:
        self._call(_FAIL, thrown)

    def _call(self, *arguments: Value) -> None:
        """Have the prelude do something. Frees the arguments."""
        try:
            self._realm.free(self._realm.call(self._engine, *arguments))
        finally:
            self._realm.free(*arguments)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _surprise(realm: Realm) -> Exception:
    """Say what the prelude itself has thrown: it found no room, or no built-in as it was."""
    try:
        thrown = realm.text(realm.take_thrown()).decode()
    except Thrown:
        return MemoryError()
    if thrown in ("null", "InternalError: out of memory"):
        return MemoryError()
    return _Failed(thrown)


@functools.cache
def _prelude() -> bytes:
    source = Path(__file__).with_name("prelude.js").read_text()
    return quickjs.compiled(source, _PRELUDE_FILE)


def _file(name: str) -> str:
    """Return what stands for a name in stacks, where it is a part of a line."""
    return re.sub(r"[\s()]+", " ", name)


def _compiled_script(file: str, code: str) -> bytes:
    return _compiled(file, code, _BEFORE + code + _AFTER, 1 - _LINES_BEFORE)


def _compiled_library(file: str, code: str) -> bytes:
    return _compiled(file, code, code, 1)


def _compiled(file: str, code: str, source: str, first_line: int) -> bytes:
    try:
        return quickjs.compiled(source, file, first_line)
    except SyntaxFault as fault:
        # What is missing at the end is noticed behind it.
        line = fault.line and max(1, min(fault.line, len(code.splitlines())))
        raise SyntaxFault(plain_text(str(fault), _MAX_MESSAGE_LENGTH), line) from None
    except UnicodeEncodeError:
        raise SyntaxFault("It holds a lone surrogate, which is not a character.", None) from None
    except EngineMissing as error:
        raise SyntaxFault(str(error), None) from None


def _told(fault: SyntaxFault) -> str:
    return f"line {fault.line}: {fault}" if fault.line else str(fault)


def _with_long_integers_marked(text: bytes) -> bytes | None:
    """Make strings with a NUL, which no message has, of integers that a number cannot hold.

    None if there are none.
    """
    if _LONG_NUMBER not in text.translate(_DIGITS_AS_ZEROS):
        return None
    marked = _STRING_OR_LONG_NUMBER.sub(_marked, text)
    return None if marked == text else marked


def _marked(match: re.Match[bytes]) -> bytes:
    token = match[0]
    digits = token.removeprefix(b"-")
    if digits.isdigit() and (len(digits) > 16 or int(digits) > _MAX_NUMBER):
        return b'"\\u0000' + token + b'"'
    return token


def _shortened(place: str) -> str:
    if len(place) <= _MAX_PLACE_LENGTH:
        return place
    half = _MAX_PLACE_LENGTH // 2
    return f"{place[:half]}…{place[-half:]}"

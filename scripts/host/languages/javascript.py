"""JavaScript scripts: `context.Data` is the message, `setData(output)` gives the output.

Each message finds a realm as if it were the first, with libraries and script evaluated anew from
bytecode, so that nothing is left for the next message. A script is the body of an async function.

    JavaScriptScript   a script, compiled once
    world.py           the realm before a message comes
    heap.py            its memory, which is restored after each message
    execution.py       one message's way through the realm
    prelude/           the objects of a realm besides the language
    quickjs.py         the engine
"""

import json
import re
import resource
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from scripts.host.interruption import Interrupted
from scripts.host.languages import prelude, quickjs
from scripts.host.languages.execution import MAX_MESSAGE_LENGTH, NEVER_SETTLED, Execution, Failed
from scripts.host.languages.javascript_errors import (
    LIBRARIES,
    NO_CLASS_CALL,
    NO_MODULE,
    is_never_there,
    is_unknown_name,
    more_about,
    syntax_hint,
)
from scripts.host.languages.javascript_marks import MAX_CODE, Marks
from scripts.host.languages.javascript_tokens import Scanner, characters, stray_brace
from scripts.host.languages.key_orders import key_orders
from scripts.host.languages.loops import loop_after
from scripts.host.languages.places import pointed_at, shown_line
from scripts.host.languages.prelude import Prelude
from scripts.host.languages.quickjs import EngineMissing, Realm, SyntaxFault, Thrown
from scripts.host.languages.world import World, Worlds
from scripts.host.lasting import is_passing
from scripts.protocol.envelope import check_size, decode_output, plain_text
from scripts.protocol.errors import (
    INVALID,
    NEVER_ALLOWED,
    OutputInvalid,
    ScriptError,
    ScriptInvalid,
    ScriptRaised,
    ScriptTimedOut,
    place,
)
from scripts.protocol.json_text import MAX_DIGITS
from scripts.protocol.numerals import may_change
from scripts.protocol.source_lines import lines_of

if TYPE_CHECKING:
    from scripts.host.context import Context

# The script stands on line 1. Without `await` it is an ordinary function, which is faster.
_BEFORE = "(async function ()\n{\n"
_BEFORE_AWAITING_NOTHING = "(function ()\n{\n"
_MAY_AWAIT = re.compile(r"await|\\u")
_AFTER = "\n})"
_LINES_BEFORE = 2
# The rest is for the texts that go in and out, and for Python's work on them.
_MEMORY_SHARE = 0.85

# Matches code that may throw values other than new errors. Code made at run time may do anything.
_THROWS_ANYTHING = re.compile(
    r"\bthrow\b(?!\s+new\b)|\breject\b|\\u|\b(eval|Function|constructor|globalThis)\b"
)

# What is thrown where there is no memory; the last, where there is none for an error either.
_NO_MEMORY = ("null", "InternalError", "InternalError: out of memory", "[uninitialized]")

_NATIVE = re.compile(r"^    at (.+) \(native\)$")
_ANY_FRAME = re.compile(
    r"^    at (?:(?P<name>.*) \()?(?P<file>[^()]+?)(?::(?P<line>\d+):(?P<column>\d+))?\)?$"
)
_NO_NAME = re.compile(r"^    at <(?:anonymous|eval)> \((.*)\)$")
_FRAME = re.compile(r"^    at (?:.* \()?([^()]+):(\d+):(\d+)\)?$")
_IMPORT = re.compile(r"(?<![\w$.])import\s*\(")
_PROMISE = re.compile(r"\bnew\s+Promise\b|\bPromise\.withResolvers\b")
_MAX_PLACES = 5


class JavaScriptScript:
    """A JavaScript script, compiled once and run in a fresh realm for each message."""

    def __init__(
        self,
        name: str,
        code: str,
        libraries: Sequence[tuple[str, str]] = (),
        memory_mb: int = 0,
    ) -> None:
        """Compile. Raises ScriptInvalid; runs nothing."""
        all_code = "\n".join([code, *(library_code for _, library_code in libraries)])
        self._file = _file(name)
        self._lines = {self._file: lines_of(code)}
        compiled_libraries: list[bytes] = []
        for library, library_code in libraries:
            file = _file(f"library {library}")
            self._lines[file] = lines_of(library_code)
            try:
                compiled_libraries.append(_compiled_library(file, library_code))
            except SyntaxFault as fault:
                # Without the line, which is not one of the script.
                shown = _pointed_at(file, library_code, fault)
                raise ScriptInvalid(f"{file}, {_told(fault)}", traceback=shown) from None
        try:
            compiled_code = _compiled_script(_file(name), code)
        except SyntaxFault as fault:
            shown = _pointed_at(self._file, code, fault)
            raise ScriptInvalid(_told(fault), line=fault.line, traceback=shown) from None
        self._prelude = Prelude(all_code)
        self._memory_bytes = int(memory_mb * 2**20 * _MEMORY_SHARE)
        self._worlds = Worlds(self._prelude, compiled_libraries, compiled_code, self._memory_bytes)
        self._may_throw_null = bool(_THROWS_ANYTHING.search(all_code))
        self._marks: dict[str, Marks | None] = {}
        self._peak_before = 0
        self._world: World | None = None
        self._execution: Execution | None = None
        self.timeout_seconds: float | None = None

    def run(self, body: bytes, context: "Context") -> Any:
        if self._may_throw_null:
            self._peak_before = _peak_bytes()
        orders = key_orders(body)
        remembers = orders is not None or may_change(body) or _leaves_numbers(context)
        omitted = self._prelude.omitted
        if orders is not None:
            omitted -= prelude.BUILT_INS_OF_ORDERS
        elif remembers:
            omitted -= prelude.BUILT_INS_OF_NUMERALS
        world = self._world = self._worlds.one_without(omitted)
        realm = world.realm
        try:
            execution = self._execution = Execution(world, context, self._named)
            text = execution.run(body, remembers=remembers, orders=orders)
            # Reading the output takes many times its size.
            check_size(text)
            output = _read(text, context)
            return context.finish(output) if execution.finishes else output
        except Thrown:
            raise _surprise(realm) from None
        except Failed as error:
            if error.may_be_memory == "yes" or (error.may_be_memory and self._was_full(realm)):
                raise MemoryError from None
            raise

    def explain(self, error: BaseException) -> ScriptError:
        if isinstance(error, Interrupted) or (self._world and self._world.realm.was_interrupted):
            return self._timed_out(error)
        if isinstance(error, Failed):
            told, stack = self._named(error.message, error.stack)
            message, stack = plain_text(told, MAX_MESSAGE_LENGTH), self._stack(stack)
            if self._is_lasting(error, told):
                return ScriptInvalid(message, line=self._line_of(stack), traceback=stack)
            return ScriptRaised(message, traceback=stack)
        return ScriptRaised(plain_text(f"{type(error).__name__}: {error}", MAX_MESSAGE_LENGTH))

    def _is_lasting(self, error: Failed, told: str) -> bool:
        """Whether no repetition heals it, see `host/lasting.py`."""
        if self._execution is not None and is_passing(error.kind, self._execution.context):
            return False
        if error.kind in NEVER_ALLOWED or is_never_there(error.message):
            return True
        has_failed = self._execution is not None and self._execution.has_failed_outside
        if has_failed:
            return False
        codes = map("\n".join, self._lines.values())
        return error.kind == INVALID or is_unknown_name(error.message, told, codes)

    def _named(self, message: str, stack: str) -> tuple[str, str]:
        """Return message and stack with the value that the error is about."""
        if message.startswith(NO_MODULE):
            told, places = f"{message}: {LIBRARIES}", self._places_of(_IMPORT)
            return told, f"{told}\n{places[0] if len(places) == 1 else ''}"
        if message == NEVER_SETTLED:
            # The engine does not tell where it waits: one of these made the promise.
            return message, "\n".join([message, *self._places_of(_PROMISE)[:_MAX_PLACES]])
        if message.startswith("Thrown: ") and not stack:
            # What is no error has no stack.
            return message, f"{message}\n{self._place_of_throw(message)}"
        headline, _, frames = stack.partition("\n")
        native, _, others = frames.partition("\n")
        inner = _NATIVE.match(native)
        frame = _ANY_FRAME.match((others if inner else frames).partition("\n")[0])
        if headline != message or not frame or frame["file"] not in self._lines:
            return message, stack
        if message == NO_CLASS_CALL and not inner:
            # It is thrown within the class.
            called = _ANY_FRAME.match(others.partition("\n")[0])
            if called and called["line"] and called["file"] in self._lines:
                frame, frames = called, others
                others = others.partition("\n")[2]
        marks = self._marks_of(frame["file"])
        if marks is None:
            return message, stack
        line, column = frame["line"] and int(frame["line"]), int(frame["column"] or 1)
        told, at = more_about(message, marks, line or None, column, inner[1] if inner else "")
        if at is None or inner:
            return told, f"{told}\n{frames}"
        name = frame["name"] or "<anonymous>"
        return told, f"{told}\n    at {name} ({frame['file']}:{at[0]}:{at[1]})\n{others}"

    def _marks_of(self, file: str) -> Marks | None:
        """Return what the engine knows of the places of a file, None where it is too large."""
        if file not in self._marks:
            code = "\n".join(self._lines[file])
            self._marks[file] = Marks(code) if len(code) <= MAX_CODE else None
        return self._marks[file]

    def _place_of_throw(self, message: str) -> str:
        """Return a frame for the place that has thrown what is no error, "" for one of several."""
        thrown = message.removeprefix("Thrown: ")
        places = [
            (f"    at {file}:{line}:{column}", thrown in self._lines[file][line - 1])
            for file in self._lines
            if (marks := self._marks_of(file))
            for line, column in marks.throws()
        ]
        meant = [place for place, has_text in places if has_text] or [place for place, _ in places]
        return meant[0] if len(meant) == 1 else ""

    def _places_of(self, words: re.Pattern[str]) -> list[str]:
        """Return a frame for each place of words in the code."""
        return [
            f"    at {file}:{number}:{word.start() + 1}"
            for file, lines in self._lines.items()
            for number, line in enumerate(lines, 1)
            for word in words.finditer(line)
        ]

    def _line_of(self, stack: str) -> int | None:
        frames = filter(None, map(_FRAME.match, stack.splitlines()))
        return next((int(frame[2]) for frame in frames if frame[1] == self._file), None)

    def _timed_out(self, error: BaseException) -> ScriptTimedOut:
        stack = self._stack(self._refined(error.stack)) if isinstance(error, Failed) else ""
        where = next(filter(None, map(self._place, stack.splitlines())), "")
        if not where and self._execution and (request := self._execution.waits_for()):
            where = f"an outside call that had no answer: {request}"
        return ScriptTimedOut(
            limit_seconds=self.timeout_seconds,
            where=plain_text(where, MAX_MESSAGE_LENGTH),
            traceback=stack.removeprefix("InternalError: interrupted\n"),
        )

    def _refined(self, stack: str) -> str:
        """Correct the innermost line of an interrupted script where that is a loop.

        The engine knows the places of calls and properties. In a loop of neither it names what
        stands before the loop, or nothing.
        """
        headline, _, frames = stack.partition("\n")
        innermost, _, others = frames.partition("\n")
        frame = _ANY_FRAME.match(innermost)
        if (
            frame is None
            or not headline.endswith("interrupted")
            or frame["file"] not in self._lines
        ):
            return stack
        line, column = int(frame["line"] or 1), int(frame["column"] or 1)
        lines = self._lines[frame["file"]]
        in_characters = characters(lines[line - 1], column) if line <= len(lines) else column
        found = loop_after("\n".join(lines), line, in_characters)
        place = f"{frame['file']}:{found or line}:{1 if found else column}"
        name = frame["name"]
        shown = f"    at {name} ({place})" if name else f"    at {place}"
        return f"{headline}\n{shown}\n{others}"

    def _place(self, line: str) -> str:
        frame = _FRAME.match(line)
        if frame is None or frame[1] not in self._lines:
            return ""
        name = line.strip().removeprefix("at ").partition(" (")
        file = "" if frame[1] == self._file else frame[1]
        return place(file, int(frame[2]), name[0] if name[1] else "")

    def forget(self) -> None:
        self._execution = None
        if self._world is not None:
            self._worlds.take_back(self._world)
            self._world = None

    def _was_full(self, realm: Realm) -> bool:
        """Whether null was thrown because there was no memory left for an error.

        A script may also throw null itself. Where its code looks like that, null is taken for the
        script's own, unless this message has taken most of the memory.
        """
        if not self._may_throw_null or realm.is_full():
            return True
        return 0 < self._memory_bytes < 2 * (_peak_bytes() - self._peak_before)

    def _stack(self, stack: str) -> str:
        return "\n".join(self._stack_lines(stack)).rstrip()

    def _stack_lines(self, stack: str) -> Iterator[str]:
        """Yield the lines of a stack, each frame with its line of source."""
        for line in prelude.without_frames(stack).split("\n"):
            frame = _FRAME.match(line)
            source = self._lines.get(frame[1], []) if frame else []
            if frame is None or not 0 < int(frame[2]) <= len(source):
                yield _NO_NAME.sub(r"    at \1", line)
                continue
            code = source[int(frame[2]) - 1]
            column = characters(code, int(frame[3]))
            line = f"{line[: frame.start(3)]}{column}{line[frame.end(3) :]}"
            yield _NO_NAME.sub(r"    at \1", line)
            yield from shown_line(code, column)


def preload() -> None:
    """Load the engine and the prelude, which are files."""
    try:
        prelude.preload()
    except EngineMissing:
        # A script reports it when it is compiled.
        return


def syntax_fault(code: str, *, is_library: bool = False) -> SyntaxFault | None:
    """Return why the code does not compile, without running any of it."""
    try:
        if is_library:
            _compiled_library("library", code)
        else:
            _compiled_script("script", code)
    except SyntaxFault as fault:
        return fault
    except ScriptRaised as error:
        return SyntaxFault(str(error), None)
    return None


def _compiled_script(file: str, code: str) -> bytes:
    before = _BEFORE if _MAY_AWAIT.search(code) else _BEFORE_AWAITING_NOTHING
    return _compiled(file, code, before + code + _AFTER, 1 - _LINES_BEFORE)


def _compiled_library(file: str, code: str) -> bytes:
    return _compiled(file, code, code, 1)


def _compiled(file: str, code: str, source: str, first_line: int) -> bytes:
    try:
        return quickjs.compiled(source, file, first_line)
    except SyntaxFault as fault:
        raise _in_code(fault, code, is_library=source is code) from None
    except UnicodeEncodeError:
        raise SyntaxFault("It holds a lone surrogate, which is not a character.", None) from None
    except EngineMissing as error:
        # Another machine may have it.
        raise ScriptRaised(str(error)) from None


def _in_code(fault: SyntaxFault, code: str, *, is_library: bool) -> SyntaxFault:
    """Return the fault at its place in the code itself, with a hint where there is one."""
    message, lines = plain_text(str(fault), MAX_MESSAGE_LENGTH), lines_of(code.rstrip())
    if fault.line is None:
        return _wrong_pattern(code, lines) or SyntaxFault(message, None)
    if not code:
        return SyntaxFault(message, 1)
    if not is_library and (early := _early_end(code, lines)):
        return early
    line, column = max(1, fault.line), fault.column
    if line <= len(lines):
        column = characters(lines[line - 1], column)
    else:
        # A missing end is found behind the last line.
        line, column = len(lines), len(lines[-1]) + 1
        message = "unexpected end: a bracket, a brace or a quote is not closed"
    hint = syntax_hint(message, lines[line - 1], column, is_library=is_library)
    return SyntaxFault(f"{message}; {hint}" if hint else message, line, column)


def _wrong_pattern(code: str, lines: list[str]) -> SyntaxFault | None:
    """Return the fault of a regular expression, for which the engine tells no place."""
    for token in Scanner(code).scan():
        if token.kind == "pattern" and token.line <= len(lines):
            try:
                quickjs.compiled(token.text, "script")
            except SyntaxFault as fault:
                column = characters(lines[token.line - 1], token.column)
                message = plain_text(str(fault), MAX_MESSAGE_LENGTH)
                return SyntaxFault(f"no regular expression: {message}", token.line, column)
    return None


def _early_end(code: str, lines: list[str]) -> SyntaxFault | None:
    """Return the fault of a brace that closes the function around the script."""
    brace = stray_brace(code)
    if brace is None or brace.line > len(lines):
        return None
    try:
        quickjs.compiled(_BEFORE + code[: brace.start] + _AFTER, "script", 1)
    except SyntaxFault:
        return None
    column = characters(lines[brace.line - 1], brace.column)
    return SyntaxFault("unexpected '}': it closes nothing", brace.line, column)


def _pointed_at(file: str, code: str, fault: SyntaxFault) -> str:
    """Return the place of a fault with its line of code and a caret."""
    if fault.line is None:
        return ""
    line = lines_of(code)[fault.line - 1] if code else ""
    return pointed_at(file, line, fault.line, fault.column, f"SyntaxError: {fault}")


def _told(fault: SyntaxFault) -> str:
    return f"line {fault.line}: {fault}" if fault.line else str(fault)


def _read(text: bytes, context: "Context") -> Any:
    try:
        output, is_as_encoded = decode_output(text, context._numerals)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # The usual message would name a function of Python.
        message = f"The output holds an integer of more than {MAX_DIGITS} digits."
        raise OutputInvalid(message, place="$") from None
    if is_as_encoded:
        context._read_from = output, text
    return output


def _leaves_numbers(context: "Context") -> bool:
    """Whether the last wait has left numbers that JavaScript would write in another way."""
    return context._waits is not None and may_change(context._waits["state"].encode())


def _file(name: str) -> str:
    """Return the form of a name in stacks, where it is a part of a line."""
    return re.sub(r"[\s()]+", " ", name)


def _surprise(realm: Realm) -> Exception:
    """Return the error that the prelude itself has thrown: no memory, or a changed built-in."""
    try:
        thrown = realm.text(realm.take_thrown()).decode()
    except Thrown:
        return MemoryError()
    return MemoryError() if thrown in _NO_MEMORY else Failed(thrown)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

"""Where a script was when its time was over, by what its process has told.

A host in Python tells it from a signal handler in C, by `faulthandler`: that works whatever the
script does, also within a long regular expression. The text comes through the pipe in place of an
answer. A host of JavaScript interrupts the script and answers itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from scripts.pool.answers import Clean
from scripts.protocol.calls import Program
from scripts.protocol.errors import ScriptError, ScriptTimedOut, place
from scripts.protocol.source_lines import lines_of
from scripts.protocol.wire import MAX_TEXT_LENGTH

BEGINNING = b"Stack (most recent call first):\n"
# The lowest frame of every host; of a long stack the lower part is left out.
_ENDS = (b'  File "<string>", line 1 in <module>\n', b"  ...\n")
MAX_BYTES = 64 * 1024
_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$')
_MAX_FRAMES = 20


def is_whole(trace: bytes) -> bool:
    """Whether all has come that a host tells."""
    return trace.endswith(_ENDS) or len(trace) > MAX_BYTES


def located(error: ScriptError, program: Program, trace: bytes, clean: Clean) -> ScriptError:
    """Return the error of a time limit with the place in the script, if that is known."""
    if not isinstance(error, ScriptTimedOut) or not trace:
        return error
    frames = list(_frames(program, trace.decode(errors="replace")))[:_MAX_FRAMES]
    if not frames:
        return error
    file, line, function = frames[0]
    text = clean(
        "\n".join(["Traceback (most recent call last):", *map(_shown(program), reversed(frames))]),
        MAX_TEXT_LENGTH,
    )
    where = place(file if file != program.name else "", line, function)
    return ScriptTimedOut(
        limit_seconds=error.limit_seconds, where=clean(where, 500), traceback=text
    )


def _frames(program: Program, trace: str) -> Iterator[tuple[str, int, str]]:
    """Yield file, line and function of the frames of the script and its libraries."""
    files = {_escaped(name): name for name in _sources(program)}
    for text in trace.splitlines():
        frame = _FRAME.match(text)
        if frame and frame[1] in files and len(frame[2]) < 10:
            yield files[frame[1]], int(frame[2]), frame[3]


def _escaped(name: str) -> str:
    """Return a file's name as `faulthandler` writes it."""
    shown = "".join(c if " " <= c <= "~" else _code(ord(c)) for c in name[:500])
    return f"{shown}..." if len(name) > 500 else shown


def _code(number: int) -> str:
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _sources(program: Program) -> dict[str, str]:
    libraries = {f"library {library.name}": library.code for library in program.libraries}
    return libraries | {program.name: program.code}


def _shown(program: Program) -> Callable[[tuple[str, int, str]], str]:
    sources = {name: lines_of(code) for name, code in _sources(program).items()}

    def shown(frame: tuple[str, int, str]) -> str:
        file, line, function = frame
        lines = sources[file]
        source = lines[line - 1].strip()[:200] if 0 < line <= len(lines) else ""
        return f'  File "{file}", line {line}, in {function}\n    {source}'

    return shown

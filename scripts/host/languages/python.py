"""Python scripts: `def run(message, context): return message`."""

import builtins
import contextlib
import contextvars
import importlib
import keyword
import pkgutil
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scripts.host.exceptions import Reject, Retry
from scripts.host.languages.frozen import freeze, restore_random
from scripts.protocol.envelope import decode, plain_text
from scripts.protocol.errors import (
    ScriptError,
    ScriptInvalid,
    ScriptRaised,
    ScriptRejected,
    ScriptRetry,
)
from scripts.typings import asyncengine_script

if TYPE_CHECKING:
    from scripts.host.context import Context

# What a script may import. The list is for the author: it says early what will not work. The wall
# is the host process.
MODULES = (
    "__future__",
    "abc",
    "array",
    # Ours: the types of what a script gets and raises.
    "asyncengine_script",
    "base64",
    "binascii",
    "bisect",
    "calendar",
    "cmath",
    "collections",
    "collections.abc",
    "contextlib",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "heapq",
    "hmac",
    "html",
    "io",
    "itertools",
    "json",
    "math",
    "numbers",
    "operator",
    "pprint",
    "random",
    "re",
    "secrets",
    "statistics",
    "string",
    "struct",
    "textwrap",
    "time",
    "types",
    "typing",
    "unicodedata",
    "urllib.parse",
    "uuid",
    "zlib",
    "zoneinfo",
)
# What C code imports in the name of the script that called it, as datetime.strptime does.
_IMPORTED_FOR_SCRIPTS = ("_strptime", "copyreg")
# What else those import when first used rather than when imported.
_IMPORTED_LATE = ("html.entities", "importlib.resources", "locale", "stringprep")

_NOT_FOR_SCRIPTS = ("breakpoint", "copyright", "credits", "exit", "help", "input", "license")
_MAX_MESSAGE_LENGTH = 2000
_MAX_FRAMES = 20
_MAX_CAUSES = 5

_time_zones: list[Any] = []

# Scripts import it by its short name, which a checkout of the engine does not have on its path.
sys.modules.setdefault("asyncengine_script", asyncengine_script)


class PythonScript:
    """A Python script, compiled once and run with fresh globals for each message."""

    def __init__(
        self, name: str, code: str, libraries: Sequence[tuple[str, str]] = (), memory_mb: int = 0
    ) -> None:
        self._name = name
        self._lines = {name: code.splitlines()}
        self._code = _compile(name, code)
        self._libraries: dict[str, types.CodeType] = {}
        for library, library_code in libraries:
            file = _library_file(library)
            self._lines[file] = library_code.splitlines()
            self._libraries[library] = _compile_library(library, library_code)
        self._scope: dict[str, Any] = {}
        self._importer: _Importer | None = None

    def run(self, body: bytes, context: "Context") -> Any:
        # In a context of its own, where decimal and others keep what is set for this message alone.
        return contextvars.Context().run(self._run, decode(body, context._numerals), context)

    def _run(self, message: Any, context: "Context") -> Any:
        own_builtins = _BUILTINS.copy()
        own_builtins["print"] = types.MethodType(_print, context)
        if self._libraries:
            self._importer = _Importer(self._libraries, own_builtins)
            own_builtins["__import__"] = self._importer.load
        scope = self._scope = {"__name__": self._name, "__builtins__": own_builtins}
        exec(self._code, scope)  # noqa: S102 - what a script host is for
        run = scope.get("run")
        if not callable(run):
            raise ScriptInvalid("The script has no run(message, context).")
        try:
            return run(message, context)
        except TypeError as error:
            if _failed_before_its_first_line(error):
                raise ScriptInvalid(
                    f"run must take (message, context): {error}", line=_first_line(run)
                ) from None
            raise

    def explain(self, error: BaseException) -> ScriptError:
        if isinstance(error, Retry):
            return ScriptRetry(after=error.after, reason=_text(error.reason))
        if isinstance(error, Reject):
            return ScriptRejected(reason=_text(error.reason))
        return ScriptRaised(_headline(error), traceback=self._traceback(error))

    def forget(self) -> None:
        # The functions of the script refer to their globals and these to them: without this the
        # garbage collector has to find out.
        self._scope.clear()
        restore_random()
        if self._importer is not None:
            self._importer.forget()
            self._importer = None

    def _traceback(self, error: BaseException) -> str:
        parts = [
            f"{joint}{self._frames(link)}{_headline(link)}{_members(link)}"
            for link, joint in _chain(error)
        ]
        return "\n\n".join(parts)

    def _frames(self, error: BaseException) -> str:
        places = [
            (frame.f_code, line)
            for frame, line in _walk(error.__traceback__)
            if frame.f_code.co_filename in self._lines
        ]
        half = _MAX_FRAMES // 2 if len(places) > _MAX_FRAMES else len(places)
        frames = [self._frame(*place) for place in places[:half]]
        if half < len(places):
            frames.append(f"  … {len(places) - _MAX_FRAMES} more …\n")
            frames += [self._frame(*place) for place in places[-half:]]
        return "".join(["Traceback (most recent call last):\n", *frames])

    def _frame(self, code: types.CodeType, line: int) -> str:
        lines = self._lines[code.co_filename]
        source = lines[line - 1].strip() if 0 < line <= len(lines) else ""
        return f'  File "{code.co_filename}", line {line}, in {code.co_name}\n    {source[:200]}\n'


class _Importer:
    """What `import` means for one message: the script's libraries, then the allowed modules.

    A library is a module of its own for each message, as the script's globals are.
    """

    def __init__(
        self, libraries: Mapping[str, types.CodeType], own_builtins: dict[str, Any]
    ) -> None:
        self._libraries = libraries
        self._builtins = own_builtins
        self._modules: dict[str, types.ModuleType] = {}

    def load(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> types.ModuleType:
        if level or name not in self._libraries:
            return _import(name, globals, locals, fromlist, level, tuple(self._libraries))
        return self._modules.get(name) or self._load_library(name)

    def forget(self) -> None:
        for module in self._modules.values():
            vars(module).clear()

    def _load_library(self, name: str) -> types.ModuleType:
        module = self._modules[name] = types.ModuleType(name)
        scope = vars(module)
        scope["__builtins__"] = self._builtins
        try:
            exec(self._libraries[name], scope)  # noqa: S102 - as the script itself
        except BaseException:
            del self._modules[name]
            raise
        return module


def library_name_fault(name: str) -> str:
    """Say why no library can have the name, "" where it can."""
    if not name.isidentifier() or keyword.iskeyword(name):
        return "A Python library needs a name that a script can import: letters, digits and _."
    if name in sys.stdlib_module_names:
        return f"{name} is a module of Python."
    if name in MODULES:
        return f"{name} is a module of the engine."
    return ""


def preload() -> None:
    """Import what scripts may import, with what those modules would otherwise load late."""
    encodings = pkgutil.iter_modules(importlib.import_module("encodings").__path__, "encodings.")
    for module in (
        *MODULES,
        *_IMPORTED_FOR_SCRIPTS,
        *_IMPORTED_LATE,
        *(found.name for found in encodings),
    ):
        # Some encodings are of another platform, some late imports of another Python.
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    _load_time_zones()
    # Ours, too: the classes are there of what a script is given, such as its context.
    freeze([*MODULES, *_IMPORTED_FOR_SCRIPTS, "scripts"])


def _load_time_zones() -> None:
    """Read every zone there is; zoneinfo finds them again as long as somebody holds them."""
    zoneinfo = importlib.import_module("zoneinfo")
    for name in zoneinfo.available_timezones():
        with contextlib.suppress(Exception):
            _time_zones.append(zoneinfo.ZoneInfo(name))


def _compile(name: str, code: str) -> types.CodeType:
    try:
        compiled: types.CodeType = compile(code, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        raise ScriptInvalid(
            plain_text(f"{where}{error.msg}", _MAX_MESSAGE_LENGTH), line=error.lineno
        ) from None
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise ScriptInvalid(f"The script does not compile: {_headline(error)}") from None
    return compiled


def _library_file(name: str) -> str:
    # As tracebacks show it; a script may have the same name.
    return f"library {name}"


def _compile_library(name: str, code: str) -> types.CodeType:
    try:
        return _compile(_library_file(name), code)
    except ScriptInvalid as error:
        # Without its line, which is none of the script's.
        raise ScriptInvalid(f"library {name}, {error}") from None


def _import(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
    libraries: tuple[str, ...] = (),
) -> types.ModuleType:
    if level or not may_import(name, fromlist or ()):
        allowed = ", ".join((*libraries, *MODULES))
        raise ImportError(f"module {name!r} may not be imported; allowed are: {allowed}", name=name)
    return __import__(name, globals, locals, fromlist or (), level)


def may_import(name: str, fromlist: Sequence[str]) -> bool:
    """Tell whether a script may import a module, or these members of it."""
    if name in MODULES or name in _IMPORTED_FOR_SCRIPTS:
        return True
    # from urllib import parse
    return bool(fromlist) and all(f"{name}.{member}" in MODULES for member in fromlist)


_BUILTINS: dict[str, Any] = {
    name: value
    for name, value in vars(builtins).items()
    if name not in (*_NOT_FOR_SCRIPTS, "open", "quit", "_")
} | {"__import__": _import, "Retry": Retry, "Reject": Reject}


def _print(
    context: "Context", *values: Any, sep: str | None = None, file: Any = None, **others: Any
) -> None:
    if file is not None:
        print(*values, sep=sep, file=file, **others)
        return
    context.log((" " if sep is None else sep).join(map(str, values)))


def _failed_before_its_first_line(error: TypeError) -> bool:
    """Tell whether the call itself failed: then no frame but the caller's is in the traceback."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is None


def _first_line(function: Any) -> int | None:
    return getattr(getattr(function, "__code__", None), "co_firstlineno", None)


def _chain(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """Yield what led to an exception, oldest first, each with the words that join it on."""
    links: list[tuple[BaseException, str]] = []
    current: BaseException | None = error
    while current is not None and len(links) < _MAX_CAUSES:
        if any(current is link for link, _ in links):
            break
        cause, context = current.__cause__, current.__context__
        hidden = context if not current.__suppress_context__ else None
        joint = "Caused by that:\n" if cause else "While that was handled:\n" if hidden else ""
        links.append((current, joint))
        current = cause or hidden
    if current is not None:
        links[-1] = (links[-1][0], "")
    return reversed(links)


def _walk(trace: types.TracebackType | None) -> Iterator[tuple[types.FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _headline(error: BaseException) -> str:
    name = type(error).__qualname__
    said = _text(error)
    return f"{name}: {said}" if said else name


def _members(error: BaseException) -> str:
    """Name what is in a group of exceptions, a line each."""
    if not isinstance(error, BaseExceptionGroup):
        return ""
    return "".join(f"\n  - {_headline(member)}" for member in error.exceptions[:_MAX_CAUSES])


def _text(value: Any) -> str:
    """Make a short text of anything, even of what fails when asked for its text."""
    try:
        return plain_text(str(value), _MAX_MESSAGE_LENGTH)
    except Exception:
        return "<a text that cannot be made>"

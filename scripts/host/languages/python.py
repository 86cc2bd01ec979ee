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
from typing import TYPE_CHECKING, Any, NoReturn

from scripts.host.exceptions import Reject, Retry, Wait
from scripts.host.http import HttpError
from scripts.host.languages import time_zones, xml_parser
from scripts.host.languages.frozen import freeze, restore_random
from scripts.host.languages.modules import (
    IMPORTED_FOR_SCRIPTS,
    IMPORTED_LATE,
    MODULES,
    may_import,
    refusal,
)
from scripts.host.languages.places import carets, pointed_at
from scripts.host.lasting import is_closed, is_lasting, is_passing, is_unknown_name, is_wrong_call
from scripts.protocol.envelope import decode, plain_text
from scripts.protocol.errors import (
    ScriptError,
    ScriptInvalid,
    ScriptRaised,
    ScriptRetry,
    WrongArgument,
)
from scripts.protocol.numerals import Numerals
from scripts.protocol.rejections import rejected
from scripts.protocol.source_lines import lines_of
from scripts.protocol.wait_state import waiting
from scripts.protocol.wire import MAX_TEXT_LENGTH
from scripts.typings import asyncengine_script

if TYPE_CHECKING:
    from scripts.host.context import Context

_NOT_FOR_SCRIPTS = ("breakpoint", "copyright", "credits", "exit", "help", "input", "license")
_MAX_MESSAGE_LENGTH = 2000
_MAX_FRAMES = 20
_MAX_CAUSES = 5
_HINTS_OF_CALLS = {"email.utils.make_msgid": "; give it a domain"}
NO_FILES = "a script has no files: read and write an io.BytesIO or io.StringIO."

# Scripts import it by its short name, which is not on the path of the engine.
sys.modules.setdefault("asyncengine_script", asyncengine_script)


class PythonScript:
    """A Python script, compiled once and run with fresh globals for each message."""

    def __init__(
        self, name: str, code: str, libraries: Sequence[tuple[str, str]] = (), memory_mb: int = 0
    ) -> None:
        self._name = name
        self._lines = {name: lines_of(code)}
        self._code = _compile(name, code)
        self._libraries: dict[str, types.CodeType] = {}
        for library, library_code in libraries:
            file = _library_file(library)
            self._lines[file] = lines_of(library_code)
            self._libraries[library] = _compile_library(library, library_code)
        self._module: types.ModuleType | None = None
        self._importer: _Importer | None = None
        self._numerals: Numerals = {}
        self._context: Context | None = None
        self._hook = sys.unraisablehook
        self.timeout_seconds: float | None = None

    def run(self, body: bytes, context: "Context") -> Any:
        self._numerals, self._context = context._numerals, context
        self._hook, sys.unraisablehook = sys.unraisablehook, self._tell_unraisable
        # In a context of its own, so that settings of decimal and others end with this message.
        return contextvars.Context().run(self._run, decode(body, context._numerals), context)

    def _run(self, message: Any, context: "Context") -> Any:
        own_builtins = _BUILTINS.copy()
        own_builtins["print"] = types.MethodType(_print, (context, sys.stdout))
        if self._libraries:
            self._importer = _Importer(self._libraries, own_builtins)
            own_builtins["__import__"] = self._importer.load
        self._module = _entered(self._name)
        scope = vars(self._module)
        scope["__builtins__"] = own_builtins
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
        error = _decision_in(error)
        if isinstance(error, Retry):
            return ScriptRetry(after=error.after, reason=_text(error.reason))
        if isinstance(error, Wait):
            return waiting(error.after, _text(error.reason), error.state, self._numerals)
        if isinstance(error, Reject):
            return rejected(_text(error.reason), error.code, error.details, self._numerals)
        is_passed = isinstance(error, HttpError) and is_passing(error.kind, self._context)
        if not is_passed and (
            isinstance(error, ImportError) or is_lasting(error) or self._is_mistake(error)
        ):
            return ScriptInvalid(
                _headline(error),
                line=self._line_of(error),
                traceback=self._traceback(error),
            )
        return ScriptRaised(_headline(error), traceback=self._traceback(error))

    def _tell_unraisable(self, ignored: "sys.UnraisableHookArgs") -> None:
        """Log what was raised where nothing can catch it, such as in `__del__`."""
        if self._context is None or ignored.exc_value is None:
            return
        name = getattr(ignored.object, "__qualname__", type(ignored.object).__qualname__)
        told = f"Exception ignored in {_text(name)}\n{self._traceback(ignored.exc_value)}"
        self._context._log.add(told, "warning")

    def _is_mistake(self, error: BaseException) -> bool:
        has_failed = self._context is not None and self._context._outside_failed
        return not has_failed and (is_wrong_call(error) or is_unknown_name(error))

    def _line_of(self, error: BaseException) -> int | None:
        """Return the innermost line of the script itself, not of a library."""
        places = [
            trace.tb_lineno
            for trace in _walk(error.__traceback__)
            if trace.tb_frame.f_code.co_filename == self._name
        ]
        return places[-1] if places else None

    def forget(self) -> None:
        # The functions of the script and their globals refer to each other: clearing them saves the
        # garbage collector the work.
        if self._module is not None:
            _leave(self._module)
            self._module = None
        restore_random()
        if self._importer is not None:
            self._importer.forget()
            self._importer = None
        sys.unraisablehook = self._hook
        self._numerals, self._context = {}, None

    def _traceback(self, error: BaseException) -> str:
        parts = [
            f"{joint}{self._frames(link)}{_headline(link)}{_members(link)}"
            for link, joint in _chain(error)
        ]
        text = "\n\n".join(parts)
        # What was raised last stands at the end, with its place.
        return text if len(text) < MAX_TEXT_LENGTH else f"…{text[1 - MAX_TEXT_LENGTH :]}"

    def _frames(self, error: BaseException) -> str:
        places = [
            (trace.tb_frame.f_code, trace.tb_lineno, trace.tb_lasti)
            for trace in _walk(error.__traceback__)
            if trace.tb_frame.f_code.co_filename in self._lines or _is_template(trace.tb_frame)
        ]
        half = _MAX_FRAMES // 2 if len(places) > _MAX_FRAMES else len(places)
        frames = [self._frame(*place) for place in places[:half]]
        if half < len(places):
            frames.append(f"  … {len(places) - _MAX_FRAMES} more …\n")
            frames += [self._frame(*place) for place in places[-half:]]
        return "".join(["Traceback (most recent call last):\n", *frames])

    def _frame(self, code: types.CodeType, line: int, instruction: int) -> str:
        if code.co_filename not in self._lines:
            return f'  File "{code.co_filename}", line {line}, in {code.co_name}\n'
        lines = self._lines[code.co_filename]
        source = lines[line - 1] if 0 < line <= len(lines) else ""
        place = f'  File "{code.co_filename}", line {line}, in {code.co_name}\n'
        below = carets(code, instruction, source)
        return f"{place}    {source.strip()[:200]}\n" + (f"    {below}\n" if below else "")


class _Importer:
    """The `import` of one message: the script's libraries, then the allowed modules.

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
            _leave(module)
        self._modules.clear()

    def _load_library(self, name: str) -> types.ModuleType:
        module = self._modules[name] = _entered(name)
        scope = vars(module)
        scope["__builtins__"] = self._builtins
        try:
            exec(self._libraries[name], scope)  # noqa: S102 - as the script itself
        except BaseException:
            _leave(self._modules.pop(name))
            raise
        return module


def _entered(name: str) -> types.ModuleType:
    """Return a new module, among those where dataclasses and typing look for names.

    A name that another module has, or that a script may import, is left to that.
    """
    is_taken = name in sys.modules or name in sys.stdlib_module_names or name in MODULES
    module = types.ModuleType(f"script {name}" if is_taken else name)
    sys.modules[module.__name__] = module
    return module


def _leave(module: types.ModuleType) -> None:
    sys.modules.pop(module.__name__, None)
    vars(module).clear()


def library_name_fault(name: str) -> str:
    """Return why no library can have the name, "" where it can."""
    if not name.isidentifier() or keyword.iskeyword(name):
        return "A Python library needs a name that a script can import: letters, digits and _."
    if name in sys.stdlib_module_names:
        return f"{name} is a module of Python."
    if name in MODULES:
        return f"{name} is a module of the engine."
    return ""


def preload() -> None:
    """Import the modules that scripts may import, and those that these would load late."""
    encodings = pkgutil.iter_modules(importlib.import_module("encodings").__path__, "encodings.")
    for module in (
        *MODULES,
        *IMPORTED_FOR_SCRIPTS,
        *IMPORTED_LATE,
        *(found.name for found in encodings),
    ):
        # Some encodings belong to other platforms, some late imports to other versions of Python.
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    time_zones.preload()
    xml_parser.preload()
    # The engine's own module, too, with the classes of a script's arguments.
    freeze([*MODULES, *IMPORTED_FOR_SCRIPTS, "scripts"])


def _compile(name: str, code: str) -> types.CodeType:
    try:
        compiled: types.CodeType = compile(code, name, "exec", dont_inherit=True)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        told = plain_text(f"{where}{error.msg}", _MAX_MESSAGE_LENGTH)
        shown = ""
        if error.lineno and 0 < error.lineno <= len(lines := lines_of(code)):
            line, headline = lines[error.lineno - 1], f"{type(error).__name__}: {error.msg}"
            shown = pointed_at(name, line, error.lineno, error.offset or 1, headline)
        raise ScriptInvalid(
            told, line=error.lineno, traceback=plain_text(shown, _MAX_MESSAGE_LENGTH)
        ) from None
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        raise ScriptInvalid(f"The script does not compile: {_headline(error)}") from None
    return compiled


def _library_file(name: str) -> str:
    # The name in tracebacks; a script may have the same name.
    return f"library {name}"


def _compile_library(name: str, code: str) -> types.CodeType:
    try:
        return _compile(_library_file(name), code)
    except ScriptInvalid as error:
        # Without the line, which is not one of the script.
        raise ScriptInvalid(f"library {name}, {error}", traceback=error.traceback) from None


def _import(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
    libraries: tuple[str, ...] = (),
) -> types.ModuleType:
    if level or not may_import(name, fromlist or ()):
        raise ImportError(refusal(name, libraries), name=name)
    return __import__(name, globals, locals, fromlist or (), level)


def _open(*_: Any, **__: Any) -> NoReturn:
    raise WrongArgument(f"open() opens a file, and {NO_FILES}")


_BUILTINS: dict[str, Any] = {
    name: value
    for name, value in vars(builtins).items()
    if name not in (*_NOT_FOR_SCRIPTS, "open", "quit", "_")
} | {"open": _open, "__import__": _import, "Retry": Retry, "Reject": Reject, "Wait": Wait}


def _print(
    given: tuple["Context", Any],
    *values: Any,
    sep: str | None = None,
    file: Any = None,
    **others: Any,
) -> None:
    context, usual = given
    # As contextlib.redirect_stdout has it.
    file = sys.stdout if file is None and sys.stdout is not usual else file
    if file is not None:
        print(*values, sep=sep, file=file, **others)
        return
    context._log.add((" " if sep is None else sep).join(map(str, values)), "info")


def _decision_in(error: BaseException) -> BaseException:
    """Return the first decision of a group of exceptions, else the error itself."""
    found: BaseException | None = None
    if isinstance(error, BaseExceptionGroup):
        found = error.subgroup((Reject, Retry, Wait))
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found or error


def _is_template(frame: types.FrameType) -> bool:
    """Whether jinja2 has put it there for the line of a template."""
    return "__jinja_exception__" in frame.f_globals


def _failed_before_its_first_line(error: TypeError) -> bool:
    """Whether the call itself failed: then the traceback has no frame but the caller's."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is None


def _first_line(function: Any) -> int | None:
    return getattr(getattr(function, "__code__", None), "co_firstlineno", None)


def _chain(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """Yield the causes of an exception, oldest first, each with the words that follow it."""
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


def _walk(trace: types.TracebackType | None) -> Iterator[types.TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _headline(error: BaseException) -> str:
    name = type(error).__qualname__
    said = _text(error)
    if isinstance(error, PermissionError) and error.filename is not None:
        said = f"{said}: {NO_FILES}"
    elif is_closed(error):
        said = f"{said}: the sandbox does not allow {_asked_by(error)}"
    return f"{name}: {said}" if said else name


def _asked_by(error: BaseException) -> str:
    """Return the function that a script has called, which has asked the system for something."""
    frames = [trace.tb_frame for trace in _walk(error.__traceback__)]
    is_own = [each.f_globals.get("__builtins__") is not vars(builtins) for each in frames]
    called = frames[len(frames) - is_own[::-1].index(True) :] if True in is_own else []
    if not called:
        return "it"
    name = f"{called[0].f_globals.get('__name__')}.{called[0].f_code.co_name}"
    return f"what {name}() does" + _HINTS_OF_CALLS.get(name, "")


def _members(error: BaseException) -> str:
    """List the exceptions of a group, a line each."""
    if not isinstance(error, BaseExceptionGroup):
        return ""
    return "".join(f"\n  - {_headline(member)}" for member in error.exceptions[:_MAX_CAUSES])


def _text(value: Any) -> str:
    """Make a short text of anything, even of an object that raises when it is printed."""
    try:
        return plain_text(str(value), _MAX_MESSAGE_LENGTH)
    except Exception:
        return "<a text that cannot be made>"

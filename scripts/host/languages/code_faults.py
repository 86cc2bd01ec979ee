"""What is wrong with code before it ever runs: found by reading it, never by executing it.

Compiling a few bytes can take much time and memory, so for the web server a sandboxed process does
it: see `faults.py`.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from scripts.host.languages import javascript
from scripts.host.languages.javascript_errors import never_there
from scripts.host.languages.missing_names import missing_names
from scripts.host.languages.modules import MODULES, may_import, refusal

# The name and code of each library that a script has.
Libraries = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Fault:
    """`may_run`: the script compiles and begins, and fails at this place if it reaches it."""

    text: str
    line: int | None = None
    may_run: bool = False

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


def script_faults(language: str, code: str, libraries: Libraries | None = ()) -> list[Fault]:
    """Return why the code is no script: it does not compile, uses what is not there, has no end.

    An empty list means that it can be run, not that it runs well. None: the libraries of JavaScript
    are not known.
    """
    if language == "python":
        return _python_faults(code, libraries or (), is_script=True)
    return _javascript_faults(code, libraries)


def library_faults(language: str, code: str) -> list[Fault]:
    """Return why the code is no library.

    Of its imports only those of Python modules are checked: which other libraries it can import
    depends on the scripts that use it.
    """
    if language == "python":
        return _python_faults(code, (), is_script=False)
    fault = javascript.syntax_fault(code, is_library=True)
    return [Fault(str(fault), fault.line)] if fault else _missing(code, is_library=True)


def _python_faults(code: str, libraries: Libraries, is_script: bool) -> list[Fault]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
            compile(tree, "script", "exec", dont_inherit=True)
        imports = _Imports({name for name, _ in libraries})
        imports.visit(tree)
    except SyntaxError as error:
        return [Fault(error.msg, error.lineno)]
    except MemoryError:
        return [Fault("does not compile: it takes too much memory")]
    except (ValueError, OverflowError, RecursionError) as error:
        return [Fault(f"does not compile: {error}")]
    return [*imports.faults, *_run_faults(tree)] if is_script else imports.faults_of_modules


class _Imports(ast.NodeVisitor):
    """Finds imports that would fail, at any place of the code."""

    def __init__(self, libraries: set[str]) -> None:
        self.faults: list[Fault] = []
        # Those that no library can provide, since none may have the name of such a module.
        self.faults_of_modules: list[Fault] = []
        self._libraries = libraries

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._check(node, alias.name, ())

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level:
            self.faults.append(Fault("a script has no package to import from", node.lineno))
        else:
            self._check(node, node.module or "", [alias.name for alias in node.names])

    def visit_Try(self, node: ast.Try) -> None:
        if not any(_catches_import_error(handler) for handler in node.handlers):
            return self.generic_visit(node)
        # The code itself handles that the module is missing.
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)
        return None

    def _check(self, node: ast.stmt, name: str, members: Sequence[str]) -> None:
        if name in self._libraries:
            return
        if may_import(name, members):
            self._check_members(node, name, members)
            return
        self.faults.append(Fault(refusal(name, self._libraries), node.lineno))
        if name.partition(".")[0] in sys.stdlib_module_names:
            self.faults_of_modules.append(self.faults[-1])

    def _check_members(self, node: ast.stmt, name: str, members: Sequence[str]) -> None:
        """Look whether an allowed module has what is imported from it."""
        module = importlib.import_module(name) if name in MODULES else None
        for member in members:
            is_there = hasattr(module, member) or f"{name}.{member}" in MODULES or member == "*"
            if module is not None and not is_there:
                self.faults.append(Fault(f"the module {name!r} has no {member!r}", node.lineno))
                self.faults_of_modules.append(self.faults[-1])


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {kind.id for kind in kinds if isinstance(kind, ast.Name)}
    return not names.isdisjoint({"ImportError", "ModuleNotFoundError", "Exception"})


def _run_faults(tree: ast.Module) -> list[Fault]:
    found = [_run_fault(node) for node in _module_level(tree) if _binds_run(node)]
    if not found:
        return [Fault("does not define run(message, context)")]
    # One valid definition among several is enough: the one that counts is not known before.
    return [] if None in found else [fault for fault in found if fault][-1:]


def _run_fault(node: ast.AST) -> Fault | None:
    if isinstance(node, ast.AsyncFunctionDef):
        return Fault("run must be a plain function, not an async one", node.lineno)
    if isinstance(node, ast.FunctionDef) and not _takes_two(node.args):
        return Fault("run must take (message, context)", node.lineno)
    return None


def _takes_two(args: ast.arguments) -> bool:
    positional = len(args.posonlyargs) + len(args.args)
    has_room = positional >= 2 or args.vararg is not None
    return has_room and positional - len(args.defaults) <= 2 and None not in args.kw_defaults


def _binds_run(node: ast.AST) -> bool:
    match node:
        case ast.FunctionDef(name="run") | ast.AsyncFunctionDef(name="run"):
            return True
        case ast.Name(id="run", ctx=ast.Store()):
            return True
        case ast.alias(name=name, asname=asname):
            return (asname or name) == "run"
    return False


def _module_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes that define names of the module, also within if and try."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            todo.extend(ast.iter_child_nodes(node))


_COMMENT_OR_STRING = re.compile(
    r"""(?<!\\)//[^\n]*|/\*.*?\*/|("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)""",
    re.DOTALL,
)
# The ways to end a script without an error; `context` has some of them.
ENDINGS = ("setData", "reject", "retry", "wait", "finish", "go")
_END = re.compile(rf"\b({'|'.join(ENDINGS)})\b")


def _javascript_faults(code: str, libraries: Libraries | None) -> list[Fault]:
    if fault := javascript.syntax_fault(code):
        return [Fault(str(fault), fault.line)]
    if libraries is None:
        # What is not known may define what the script lacks.
        return []
    faults = _missing(code, libraries)
    if any(_names_an_end(each) for each in (code, *(code for _, code in libraries))):
        return faults
    return [*faults, Fault("never calls setData(output)", may_run=True)]


def _missing(code: str, libraries: Libraries = (), *, is_library: bool = False) -> list[Fault]:
    """Return a fault for each name that no script has, such as require."""
    others = [(code, partial(_compiles, is_library=True)) for _, code in libraries]
    found = missing_names((code, partial(_compiles, is_library=is_library)), others)
    return [Fault(never_there(each.name), code.count("\n", 0, each.at) + 1) for each in found]


def _compiles(code: str, *, is_library: bool) -> bool:
    return javascript.syntax_fault(code, is_library=is_library) is None


def _names_an_end(code: str) -> bool:
    return _END.search(_COMMENT_OR_STRING.sub(lambda match: match[1] or " ", code)) is not None

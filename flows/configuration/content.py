"""What is inside a script: its code, which is never run here, and its schemas."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Iterator
from typing import Any

import jsonschema_rs


def python_fault(code: str) -> str | None:
    """Say why the code is no Python script: it does not compile, or has no `run`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
            compile(tree, "script", "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        return f"does not compile: {error or type(error).__name__}"
    return _run_fault(tree)


def schema_fault(schema: dict[str, Any]) -> str | None:
    """Say why the object is no JSON Schema. A reference outside of it is refused, not fetched."""
    try:
        # As text: this keeps numbers beyond 64 bits.
        jsonschema_rs.validator_for(json.dumps(schema), offline=True)
    except jsonschema_rs.ValidationError as error:
        place = "".join(f"[{part!r}]" for part in error.instance_path)
        return f"is not a JSON Schema: {place + ': ' if place else ''}{error.message}"
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        return f"is not a JSON Schema: {error}"
    return None


def _run_fault(tree: ast.Module) -> str | None:
    for node in _module_level(tree):
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "run":
            return f"line {node.lineno}: run must be a plain function, not an async one"
        if _binds_run(node):
            return None
    return "does not define run(message, context)"


def _binds_run(node: ast.AST) -> bool:
    match node:
        case ast.FunctionDef(name="run") | ast.Name(id="run", ctx=ast.Store()):
            return True
        case ast.alias(name=name, asname=asname):
            return (asname or name) == "run"
    return False


def _module_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes whose names are the module's own, in ifs and tries too."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            todo.extend(ast.iter_child_nodes(node))

"""What scripts find in `context`, as the types for scripts describe it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path

TYPES = Path(__file__).resolve().parents[3] / "scripts/typings/asyncengine_script/__init__.pyi"
BEGIN = """\
# Context

What Python scripts and callables find in `context` and may raise, with its types. The names in
JavaScript are beside those of Python under [Writing scripts](../../scripts/README.md#reference);
limits are under [The script host](../../scripts/host/README.md#limits).
"""


def text() -> str:
    return BEGIN + "".join(_of_class(node) for node in classes())


def classes() -> list[ast.ClassDef]:
    """Return the public classes, `Context` first."""
    tree = ast.parse(TYPES.read_text(encoding="utf-8"))
    found = [
        each
        for each in tree.body
        if isinstance(each, ast.ClassDef) and not each.name.startswith("_")
    ]
    return sorted(found, key=lambda each: each.name != "Context")


def members(node: ast.ClassDef) -> dict[str, tuple[str, str]]:
    """Return declaration and description of what a class has; attributes have texts below.

    What may be called in several ways has several declarations.
    """
    found: dict[str, tuple[str, str]] = {}
    body = node.body
    for at, each in enumerate(body):
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            below = body[at + 1] if at + 1 < len(body) else None
            found[each.target.id] = ast.unparse(each), _text(below)
        elif isinstance(each, ast.FunctionDef) and not each.name.startswith("__"):
            before, told = found.get(each.name, ("", ""))
            texts = (told, ast.get_docstring(each) or "")
            # After its text: it leaves the signature alone.
            declared = "\n".join(filter(None, (before, _declaration(each))))
            found[each.name] = declared, "\n\n".join(filter(None, texts))
    return found


def _of_class(node: ast.ClassDef) -> str:
    parts = [f"\n## {node.name}\n\n{ast.get_docstring(node) or ''}\n"]
    for name, (declaration, description) in members(node).items():
        code = f"```python\n{declaration}\n```"
        parts.append(f"\n### {node.name}.{name}\n\n{code}\n\n{description}\n")
    return "".join(parts)


def _declaration(function: ast.FunctionDef) -> str:
    marks = {each.id for each in function.decorator_list if isinstance(each, ast.Name)}
    if "property" in marks and function.returns:
        return f"{function.name}: {ast.unparse(function.returns)}"
    # The signature alone.
    function.body, function.decorator_list = [], []
    line = ast.unparse(function).strip().rstrip(":").removeprefix("def ")
    line = line.replace("(self, ", "(").replace("(self)", "()")
    return "\n".join(textwrap.wrap(line, 88, subsequent_indent="    "))


def _text(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return inspect.cleandoc(str(node.value.value))
    return ""

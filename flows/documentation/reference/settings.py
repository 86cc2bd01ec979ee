"""The variables of the environment and the settings, as the modules of settings read them.

Code gives the names, the defaults and the units. What a variable means is said once: in the table
of README.md beside these modules, or in the comment above the line that reads it.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flows.documentation.tables import rows_of, table

ROOM = Path(__file__).resolve().parents[3] / "asyncengine"
MODULES = ("environment.py", "engine.py", "settings.py", "mounting.py")
PREFIX = "ASYNCENGINE_"
UNITS = {"_BYTES": "bytes", "_SECONDS": "seconds", "_DAYS": "days"}
# By the function that reads it.
KINDS = {
    "encryption_keys": "Fernet keys, comma separated",
    "env_bool": "0 or 1",
    "env_int": "a number",
    "env_list": "comma separated",
    "env_rate": "a number a period",
    "env_text": "text",
    "env_word": "a word",
    "get": "text",
    "origins": "origins, comma separated",
    "public_url": "an address",
}
HEAD = ("name", "default", "unit", "meaning")
TEXT = """\
# Settings

All variables of the environment that the engine reads, and its settings that no variable sets. How
they belong together is said under [Operating](../../asyncengine/README.md).

## Variables of the environment

{variables}
In a project that [mounts the engine](../../asyncengine/README.md#in-a-project-that-exists) a
setting of the same name counts more.

## Settings alone

{settings}"""


@dataclass(frozen=True, slots=True)
class Setting:
    """`literal`: the default in the code, None where it is computed."""

    name: str
    default: str
    unit: str
    meaning: str
    literal: object = None

    def row(self) -> tuple[str, ...]:
        return f"`{self.name}`", self.default, self.unit, self.meaning


def text() -> str:
    read, alone = variables(), settings_alone()
    rows = [each.row() for each in read], [each.row() for each in alone]
    return TEXT.format(variables=table(HEAD, rows[0]), settings=table(HEAD, rows[1]))


def variables() -> list[Setting]:
    """Return what is read of the environment, by name."""
    told = _told()
    # A variable of Django's own is in the table alone.
    found = {name: Setting(name, *_facts(name, *told[name], "get")) for name in told}
    for source, name, call in _reads():
        default, meaning = told.get(name, ("", ""))
        kind = _name_of(call)
        literal = _literal(call)
        shown = default or ("none" if literal in (None, "", 0) else f"`{literal}`")
        meaning = meaning or _comment_above(source, call.lineno)
        found[name] = Setting(name, *_facts(name, shown, meaning, kind), literal)
    return sorted(found.values(), key=lambda each: each.name)


def settings_alone() -> list[Setting]:
    """Return the engine's settings that are no variables."""
    known = {each.name for each in variables()}
    found = {}
    for source, name, node in _assignments():
        if name.startswith(PREFIX) and name not in known:
            literal = node.value.value if isinstance(node.value, ast.Constant) else None
            default = "computed" if literal is None else f"`{literal!r}`"
            facts = _facts(name, default, _comment_above(source, node.lineno), "")
            found[name] = Setting(name, *facts, literal)
    return sorted(found.values(), key=lambda each: each.name)


def _facts(name: str, default: str, meaning: str, kind: str) -> tuple[str, str, str]:
    by_name = [unit for end, unit in UNITS.items() if name.endswith(end)]
    return default, (by_name or [KINDS.get(kind, "")])[0], meaning


def _told() -> dict[str, tuple[str, str]]:
    """Return default and meaning of the variables in the table of README.md."""
    page = (ROOM / "README.md").read_text(encoding="utf-8")
    # Links lead from that page; this one is not there.
    plain = re.sub(r"\]\((?![a-z]+:)([^)]*)\)", _moved, page)
    return {
        name: (cells[1], cells[2])
        for cells in rows_of(plain)
        if len(cells) == 3
        for name in re.findall(r"`([A-Z][A-Z_]+)`", cells[0])
    }


def _moved(link: re.Match[str]) -> str:
    target = link[1] if not link[1].startswith("#") else f"README.md{link[1]}"
    return f"]({posixpath.normpath(f'../../asyncengine/{target}')})"


def _reads() -> Iterator[tuple[list[str], str, ast.Call]]:
    """Yield each call that reads a variable, with the lines of its module and the name."""
    for source, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _name_of(node) in KINDS and node.args:
                first = node.args[0]
                name = str(first.value) if isinstance(first, ast.Constant) else ""
                if re.fullmatch(r"(ASYNCENGINE|DATABASE)_[A-Z_]+", name):
                    yield source, name, node


def _assignments() -> Iterator[tuple[list[str], str, ast.Assign | ast.AnnAssign]]:
    """Yield what modules assign to a name, with their lines and the name."""
    for source, tree in _modules():
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name):
                    yield source, target.id, node


def _modules() -> Iterator[tuple[list[str], ast.Module]]:
    for name in MODULES:
        code = (ROOM / name).read_text(encoding="utf-8")
        yield code.splitlines(), ast.parse(code)


def _name_of(call: ast.Call) -> str:
    function = call.func
    return getattr(function, "id", "") or getattr(function, "attr", "")


def _literal(call: ast.Call) -> object:
    """Return the default that is given to the function; of words it is the first one."""
    if len(call.args) < 2:
        return None
    try:
        value: object = ast.literal_eval(call.args[1])
    except ValueError:
        return _product(call.args[1])
    return value[0] if isinstance(value, tuple) else value


def _product(node: ast.expr) -> int | None:
    """Return a number such as 8 * 1024**2, None for what is computed otherwise."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if not isinstance(node, ast.BinOp):
        return None
    left, right = _product(node.left), _product(node.right)
    if left is None or right is None:
        return None
    return left * right if isinstance(node.op, ast.Mult) else int(left**right)


def _comment_above(source: list[str], line: int) -> str:
    """Return the comment above a line, counted from 1."""
    found: list[str] = []
    for text in reversed(source[: line - 1]):
        if not text.strip().startswith("#"):
            break
        found.insert(0, text.strip().lstrip("# "))
    return " ".join(found)

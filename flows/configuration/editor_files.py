"""Files of a directory for editors, linters and type checkers.

    typings/asyncengine_script.pyi  the types of Python scripts, which import this module
    typings/__builtins__.pyi        Retry, Wait and Reject without an import, for Pyright
    typings/asyncengine.d.ts        the globals of JavaScript scripts
    typings/libraries.d.ts          the globals that JavaScript libraries define
    mypy.ini, ruff.toml, pyrightconfig.json, tsconfig.json
                                    settings, for `mypy scripts`, `ruff check`, Pyright and `tsc`

An export writes settings only if they are missing: then they belong to the author. It overwrites
typings that have its first line, so that they fit the engine. Other typings stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.typings import asyncengine_script

OURS = "Written by `config export`, which overwrites it. Without this line it stays as it is."
COMMENTS = {".pyi": "#", ".ts": "//"}
# The sources of settings have another ending, so that no tool applies them to that folder.
SOURCES = Path(__file__).parent / "for_editors"
STUB = Path(asyncengine_script.__file__).with_suffix(".pyi")

# Other places of the same settings: files, and a table of pyproject.toml.
ELSEWHERE = {
    "mypy.ini": ((".mypy.ini", "setup.cfg"), "[tool.mypy"),
    "pyrightconfig.json": ((), "[tool.pyright"),
    "ruff.toml": ((".ruff.toml",), "[tool.ruff"),
    "tsconfig.json": (("jsconfig.json",), ""),
}

# Definitions at the beginning of a line are globals of the scripts that use the library.
DEFINED = re.compile(r"^(?:var|let|const|class|(?:async\s+)?function\*?)\s+([\w$]+)", re.MULTILINE)


def write_editor_files(document: dict[str, Any], directory: Path) -> None:
    """Write the files for the languages of the document. Files of the author stay as they are."""
    for name, text in _settings(document):
        if not _has_settings(directory, name):
            (directory / name).write_text(text, encoding="utf-8", newline="\n")
    for name, text in _typings(document):
        path = directory / "typings" / name
        first_line = f"{COMMENTS[path.suffix]} {OURS}\n"
        if _is_ours(path, first_line):
            path.parent.mkdir(exist_ok=True)
            path.write_text(first_line + text, encoding="utf-8", newline="\n")


def _settings(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if _codes(document, "python"):
        for name in ("mypy.ini", "pyrightconfig.json", "ruff.toml"):
            yield name, _source(f"{name}.in")
    if _codes(document, "javascript"):
        yield "tsconfig.json", _source("tsconfig.json.in")


def _typings(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if _codes(document, "python"):
        yield "asyncengine_script.pyi", STUB.read_text(encoding="utf-8")
        yield "__builtins__.pyi", _source("__builtins__.pyi")
    if _codes(document, "javascript"):
        yield "asyncengine.d.ts", _source("asyncengine.d.ts")
        yield "libraries.d.ts", libraries_text(_codes(document, "javascript", "libraries"))


def libraries_text(codes: list[str]) -> str:
    """Return declarations of the globals that libraries define. Their types are unknown."""
    names = sorted({name for code in codes for name in DEFINED.findall(code)})
    return "".join(["export {};\n", *_global(names)])


def _global(names: list[str]) -> Iterator[str]:
    if names:
        yield "declare global {\n"
        yield from (f"  var {name}: any;\n" for name in names)
        yield "}\n"


def _codes(document: dict[str, Any], language: str, *sections: str) -> list[str]:
    entries = [
        entry
        for section in sections or ("scripts", "libraries")
        for entry in document.get(section, [])
    ]
    return [entry["code"] for entry in entries if entry.get("language", "python") == language]


def _has_settings(directory: Path, name: str) -> bool:
    others, table = ELSEWHERE[name]
    if any((directory / each).exists() for each in (name, *others)):
        return True
    project = directory / "pyproject.toml"
    return bool(table) and project.exists() and table.encode() in project.read_bytes()


def _is_ours(path: Path, first_line: str) -> bool:
    try:
        return path.read_text(encoding="utf-8").startswith(first_line)
    except FileNotFoundError:
        return True
    except (UnicodeDecodeError, OSError):
        return False


def _source(name: str) -> str:
    return (SOURCES / name).read_text(encoding="utf-8")

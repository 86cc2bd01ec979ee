"""The document as a directory: the code of scripts and libraries in files of its own.

    configuration.json         the document; an entry has `codeFile` in place of `code`
    configuration.schema.json  its JSON Schema, for editors
    scripts/score.py           one file for each script and library, named after it
    libraries/Money.js
    tables/zip.csv             the file of each reference table
    typings/, mypy.ini …       types and settings for editors and type checkers

So version control shows changes of code line by line, and editors know the language. The dotted
path of a callable stays in the document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Any

from flows.configuration.document_schema import schema_text
from flows.configuration.editor_files import write_editor_files
from flows.configuration.faults import Faults, inside
from flows.configuration.tables import FileOfDirectory, stored_file
from flows.configuration.text import read_document, write_document

DOCUMENT = "configuration.json"
SCHEMA = "configuration.schema.json"
SECTIONS = ("libraries", "scripts")
ENDINGS = {"python": ".py", "javascript": ".js"}
_LANGUAGES = {ending: language for language, ending in ENDINGS.items()}
# Characters that file names cannot have, on Windows too. `%` escapes them, so it is one of them.
UNSAFE = re.compile(r'[%/\\:*?"<>|\x00-\x1f\x7f]|^\.|[. ]$')
# In bytes: file systems allow 255.
LONGEST_STEM = 200


def write_directory(document: dict[str, Any], directory: Path) -> None:
    """Write the document and its files. Remove the files of scripts that no longer exist."""
    directory.mkdir(parents=True, exist_ok=True)
    written_before = written_files(directory)
    files: dict[str, str] = {}
    without_code: dict[str, Any] = {"$schema": f"./{SCHEMA}", **document}
    for section in SECTIONS:
        if section in document:
            entries = document[section]
            without_code[section] = [_without_code(section, entry, files) for entry in entries]
    for name, code in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(code.encode())
    names = _write_tables(document, directory)
    if "tables" in document:
        without_code["tables"] = [
            entry | {"file": name} for entry, name in zip(document["tables"], names, strict=True)
        ]
    (directory / DOCUMENT).write_bytes(write_document(without_code).encode())
    (directory / SCHEMA).write_text(schema_text(), encoding="utf-8", newline="\n")
    write_editor_files(document, directory)
    for name in written_before - files.keys() - set(names):
        (directory / name).unlink(missing_ok=True)


def read_directory(directory: Path) -> Any:
    """Return the document with its code. Raises ConfigurationInvalid, or OSError without one."""
    document = read_document((directory / DOCUMENT).read_bytes())
    if not isinstance(document, dict):
        return document
    faults = Faults()
    for section in SECTIONS:
        entries = document.get(section)
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, dict) and "codeFile" in entry:
                place = inside(section, index, "codeFile")
                _add_code(entry, directory, place, faults)
    entries = document.get("tables")
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, dict) and "file" in entry:
            _find_file(entry, directory, inside("tables", index, "file"), faults)
    faults.raise_if_any()
    return document


def written_files(directory: Path) -> set[str]:
    """Return the code files that the document in the directory names. Without a document: none."""
    try:
        document = json.loads((directory / DOCUMENT).read_bytes())
        entries = [entry for section in SECTIONS for entry in document.get(section, [])]
        named = {str(entry["codeFile"]) for entry in entries if "codeFile" in entry}
        tables = document.get("tables", [])
        named |= {str(entry["file"]) for entry in tables if "file" in entry}
    except (OSError, ValueError, TypeError, AttributeError):
        return set()
    return {name for name in named if not _path_fault(directory, name)}


def _without_code(section: str, entry: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
    """Return the entry with a file name instead of its code, and add the code to the files."""
    ending = ENDINGS.get(entry.get("language", "python"))
    if ending is None:
        return entry
    name = _file_name(f"{section}/{_stem(entry['name'])}", ending, files)
    files[name] = entry["code"]
    renamed = {"code": ("codeFile", name)}
    return dict(renamed.get(key, (key, value)) for key, value in entry.items())


def _stem(name: str) -> str:
    """Return the name as a file name: without separators, not hidden, not too long."""
    safe = UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name)
    return safe.encode()[:LONGEST_STEM].decode(errors="ignore")


def _file_name(stem: str, ending: str, taken: Iterable[str]) -> str:
    """Return a name that is not taken, also on file systems that ignore upper and lower case."""
    lower = {name.lower() for name in taken}
    names = chain([f"{stem}{ending}"], (f"{stem}~{number}{ending}" for number in count(2)))
    return next(name for name in names if name.lower() not in lower)


def _add_code(entry: dict[str, Any], directory: Path, place: str, faults: Faults) -> None:
    name = entry.pop("codeFile")
    if "code" in entry:
        faults.add(place, "stands beside `code`: one of them is enough")
    elif fault := _path_fault(directory, name):
        faults.add(place, fault)
    else:
        try:
            entry["code"] = (directory / name).read_bytes().decode("utf-8-sig")
            # Where the entry does not say it.
            if language := _LANGUAGES.get(PurePosixPath(name).suffix):
                entry.setdefault("language", language)
        except OSError as error:
            faults.add(place, f"{name}: {error.strerror}")
        except UnicodeDecodeError as error:
            faults.add(place, f"{name} is not UTF-8: byte {error.start} is wrong")


def _write_tables(document: dict[str, Any], directory: Path) -> list[str]:
    """Write the files of the tables, and return their names."""
    names: list[str] = []
    for entry in document.get("tables", []):
        name = _file_name(f"tables/{_stem(entry['name'])}", f".{entry['format']}", names)
        names.append(name)
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.writelines(stored_file(entry))
    return names


def _find_file(entry: dict[str, Any], directory: Path, place: str, faults: Faults) -> None:
    name = entry["file"]
    if fault := _path_fault(directory, name):
        faults.add(place, fault)
        return
    entry["file"] = FileOfDirectory(name)
    entry["file"].path = directory / name


def _path_fault(directory: Path, name: Any) -> str:
    """Return why this is no file of the directory, or an empty text."""
    if not isinstance(name, str) or not name or "\0" in name:
        return "must be the name of a file"
    path = PurePosixPath(name)
    inside_it = (directory / name).resolve().is_relative_to(directory.resolve())
    if path.is_absolute() or ".." in path.parts or not inside_it:
        return f"{name} is not below the directory"
    return ""

"""The document as a directory: the code of scripts and libraries in files of its own.

    configuration.json         the document; an entry has `codeFile` in place of `code`
    configuration.schema.json  its JSON Schema, for editors
    scripts/score.py           one file for each script and library, named after it
    libraries/Money.js
    typings/, mypy.ini …       what editors and type checkers know scripts by

Version control shows changes of code line by line, and editors know the language. A callable's
dotted path stays in the document.
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
from flows.configuration.text import read_document, write_document

DOCUMENT = "configuration.json"
SCHEMA = "configuration.schema.json"
SECTIONS = ("libraries", "scripts")
ENDINGS = {"python": ".py", "javascript": ".js"}
# In the names of files; those of Windows are counted, too, and `%` that stands for one of them.
UNSAFE = re.compile(r'[%/\\:*?"<>|\x00-\x1f\x7f]|^\.|[. ]$')
# In bytes: names end at 255.
LONGEST_STEM = 200


def write_directory(document: dict[str, Any], directory: Path) -> None:
    """Write the document and its files. Files of scripts that are gone since are removed."""
    directory.mkdir(parents=True, exist_ok=True)
    was_written = written_files(directory)
    files: dict[str, str] = {}
    taken_apart: dict[str, Any] = {"$schema": f"./{SCHEMA}", **document}
    for section in SECTIONS:
        if section in document:
            entries = document[section]
            taken_apart[section] = [_take_apart(section, entry, files) for entry in entries]
    for name, code in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(code.encode())
    (directory / DOCUMENT).write_bytes(write_document(taken_apart).encode())
    (directory / SCHEMA).write_text(schema_text(), encoding="utf-8", newline="\n")
    write_editor_files(document, directory)
    for name in was_written - files.keys():
        (directory / name).unlink(missing_ok=True)


def read_directory(directory: Path) -> Any:
    """Return the document with the code in it. Raises ConfigurationInvalid, and OSError where there
    is no document."""
    document = read_document((directory / DOCUMENT).read_bytes())
    if not isinstance(document, dict):
        return document
    faults = Faults()
    for section in SECTIONS:
        entries = document.get(section)
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, dict) and "codeFile" in entry:
                place = inside(section, index, "codeFile")
                _put_together(entry, directory, place, faults)
    faults.raise_if_any()
    return document


def written_files(directory: Path) -> set[str]:
    """Return the files that the document in the directory names, if there is one."""
    try:
        document = json.loads((directory / DOCUMENT).read_bytes())
        entries = [entry for section in SECTIONS for entry in document.get(section, [])]
        named = {str(entry["codeFile"]) for entry in entries if "codeFile" in entry}
    except (OSError, ValueError, TypeError, AttributeError):
        return set()
    return {name for name in named if not _path_fault(directory, name)}


def _take_apart(section: str, entry: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
    """Return the entry with the name of a file in place of its code, which goes to the files."""
    ending = ENDINGS.get(entry.get("language", "python"))
    if ending is None:
        return entry
    name = _file_name(f"{section}/{_stem(entry['name'])}", ending, files)
    files[name] = entry["code"]
    renamed = {"code": ("codeFile", name)}
    return dict(renamed.get(key, (key, value)) for key, value in entry.items())


def _stem(name: str) -> str:
    """Return the name as file systems take it: without separators, not hidden, not too long."""
    safe = UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name)
    return safe.encode()[:LONGEST_STEM].decode(errors="ignore")


def _file_name(stem: str, ending: str, taken: Iterable[str]) -> str:
    """Return a name that no other has, also where a file system takes `A` and `a` for the same."""
    lower = {name.lower() for name in taken}
    names = chain([f"{stem}{ending}"], (f"{stem}~{number}{ending}" for number in count(2)))
    return next(name for name in names if name.lower() not in lower)


def _put_together(entry: dict[str, Any], directory: Path, place: str, faults: Faults) -> None:
    name = entry.pop("codeFile")
    if "code" in entry:
        faults.add(place, "stands beside `code`: one of them is enough")
    elif fault := _path_fault(directory, name):
        faults.add(place, fault)
    else:
        try:
            entry["code"] = (directory / name).read_bytes().decode("utf-8-sig")
        except OSError as error:
            faults.add(place, f"{name}: {error.strerror}")
        except UnicodeDecodeError as error:
            faults.add(place, f"{name} is not UTF-8: byte {error.start} is wrong")


def _path_fault(directory: Path, name: Any) -> str:
    """Say why this is no file of the directory; empty if it is."""
    if not isinstance(name, str) or not name or "\0" in name:
        return "must be the name of a file"
    path = PurePosixPath(name)
    inside_it = (directory / name).resolve().is_relative_to(directory.resolve())
    if path.is_absolute() or ".." in path.parts or not inside_it:
        return f"{name} is not below the directory"
    return ""

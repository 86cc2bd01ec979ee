"""The program of a trial made from files: scripts, libraries and settings that are not saved."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scripts.examination.faults import schema_fault
from scripts.models import Library, Script
from scripts.protocol.calls import LibraryCode, Program

# The key of a script in a configuration document -> the field of a program.
_PLAIN: Mapping[str, tuple[str, type | tuple[type, ...]]] = {
    "language": ("language", str),
    "code": ("code", str),
    "timeoutSeconds": ("timeout_seconds", (int, float)),
    "memoryMb": ("memory_mb", int),
    "network": ("network", bool),
    "privateAddresses": ("private_addresses", bool),
    "inTransaction": ("in_transaction", bool),
}
_LISTS = {"allowedHosts": "allowed_hosts", "secrets": "secrets", "tables": "tables"}
_SCHEMAS = {"inputSchema": "input_schema", "outputSchema": "output_schema"}
_OTHERS = ("$schema", "name", "description", "libraries")
# The document in a directory that `config export --directory` has written.
_DOCUMENT = "configuration.json"
_LANGUAGES = {".py": "python", ".js": "javascript", ".mjs": "javascript"}


class FilesInvalid(Exception):
    """The files make no script."""


@dataclass(frozen=True, slots=True)
class Files:
    """The names of files. `config` has a configuration document, or one script of such, or is a
    directory with a document.
    """

    code: str | None = None
    config: str | None = None
    # As NAME=FILE.
    libraries: Sequence[str] = ()


def program_of(name: str, script: Script | None, files: Files) -> Program:
    """Return what to try: the saved script, with what the files have in its place.

    Raises FilesInvalid.
    """
    entry, libraries = _configured(name, files.config)
    if script is None and not files.code and "code" not in entry:
        raise FilesInvalid(
            f"There is no script {name!r}. A new one takes its code from --code or --config."
        )
    new = Program(0, name, "python", "", 30.0, 256)
    program = new if script is None else script.program()
    program = _with_entry(program, entry)
    if files.code:
        language = _LANGUAGES.get(Path(files.code).suffix)
        chosen = language if language and "language" not in entry else None
        program = replace(program, code=read_file(files.code), language=chosen or program.language)
    return _with_libraries(program, entry, libraries, files.libraries)


def read_file(name: str) -> str:
    """Return the text of a file. Raises FilesInvalid."""
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise FilesInvalid(f"Cannot read {name}: {error}") from error


def _configured(name: str, file: str | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the entry of the script and the libraries that a file has, by their names."""
    if file is None:
        return {}, {}
    if Path(file).is_dir():
        file = str(Path(file) / _DOCUMENT)
    try:
        document = json.loads(read_file(file))
    except ValueError as error:
        raise FilesInvalid(f"{file} is not valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise FilesInvalid(f"{file} must be a JSON object.")
    folder = Path(file).parent
    if "scripts" not in document and "libraries" not in _sections(document):
        return _with_code(document, folder), {}
    libraries = {
        each["name"]: _with_code(each, folder)["code"] for each in _entries(document, "libraries")
    }
    entry = next((e for e in _entries(document, "scripts") if e.get("name") == name), None)
    return {} if entry is None else _with_code(entry, folder), libraries


def _with_code(entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return an entry whose code stands in a file of its own with that code."""
    if "codeFile" not in entry:
        return entry
    named = entry["codeFile"]
    _require("codeFile", isinstance(named, str))
    code = {"code": read_file(str(folder / named))}
    if language := _LANGUAGES.get(Path(named).suffix):
        code["language"] = entry.get("language", language)
    return {key: value for key, value in entry.items() if key != "codeFile"} | code


def _sections(document: dict[str, Any]) -> set[str]:
    """Return the keys whose lists are of entries, as those of a document are."""
    return {
        key
        for key, value in document.items()
        if isinstance(value, list) and value and all(isinstance(each, dict) for each in value)
    }


def _entries(document: dict[str, Any], section: str) -> list[dict[str, Any]]:
    found = document.get(section, [])
    is_list = isinstance(found, list)
    has_code = {"code", "codeFile"}
    if not is_list or not all(
        isinstance(each, dict) and "name" in each and has_code & each.keys() for each in found
    ):
        raise FilesInvalid(f"{section} must be a list of objects with name and code or codeFile.")
    return list(found)


def _with_entry(program: Program, entry: dict[str, Any]) -> Program:
    fields: dict[str, Any] = {}
    for key, value in entry.items():
        if key in _PLAIN:
            field, kinds = _PLAIN[key]
            _require(key, isinstance(value, kinds) and (kinds is bool or value is not True))
            fields[field] = value
        elif key in _LISTS:
            _require(key, isinstance(value, list) and all(isinstance(e, str) for e in value))
            fields[_LISTS[key]] = tuple(value)
        elif key in _SCHEMAS:
            _require(key, isinstance(value, dict))
            if value and (fault := schema_fault(value)):
                raise FilesInvalid(f"{key} is not a JSON Schema: {fault}")
            fields[_SCHEMAS[key]] = json.dumps(value) if value else ""
        elif key not in _OTHERS:
            known = ", ".join((*_PLAIN, *_LISTS, *_SCHEMAS, "libraries"))
            raise FilesInvalid(f"unknown key {key!r}: known are {known}")
    return replace(program, **fields)


def _require(key: str, is_right: bool) -> None:
    if not is_right:
        raise FilesInvalid(f"{key} has a value of the wrong kind.")


def _with_libraries(
    program: Program, entry: dict[str, Any], configured: dict[str, str], given: Sequence[str]
) -> Program:
    own = {each.name: each.code for each in program.libraries}
    # A later source goes before an earlier one.
    known = {**own, **configured, **dict(map(_read_library, given))}
    names: list[str] = list(own)
    if "libraries" in entry:
        names = entry["libraries"]
        _require("libraries", isinstance(names, list) and all(isinstance(n, str) for n in names))
    on_command_line = (each.partition("=")[0] for each in given)
    used = {
        name: known[name] if name in known else _saved(name) for name in (*names, *on_command_line)
    }
    return replace(program, libraries=tuple(LibraryCode(*each) for each in used.items()))


def _read_library(given: str) -> tuple[str, str]:
    name, equals, file = given.partition("=")
    if not equals:
        raise FilesInvalid(f"--library takes NAME=FILE, not {given!r}.")
    return name, read_file(file)


def _saved(name: str) -> str:
    library = Library.objects.filter(name=name).first()
    if library is None:
        raise FilesInvalid(f"There is no library {name!r}; --library {name}=FILE gives one.")
    return library.code

"""The reference tables of a test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.testing.arguments import check_json, check_type
from scripts.models import ReferenceTable
from scripts.services.table_storing import format_of, store


def store_table(name: str, content: str | Path | Mapping[str, Any], key: str = "") -> None:
    """Store the newest version of a table: the text of a CSV file, a file, or rows by key.

    Raises ValueError, with the line, where it is no table.
    """
    check_type("name", name, str, "a string")
    check_type("content", content, (str, Path, Mapping), "the text of a CSV file, a path, or rows")
    check_type("key", key, str, "a string")
    table = ReferenceTable.objects.filter(name=name).first() or ReferenceTable(name=name)
    if isinstance(content, Path):
        store(table, [content.read_bytes()], format_of(content.name), key)
    elif isinstance(content, str):
        store(table, [content.encode()], "csv", key)
    else:
        check_json("content", content)
        store(table, [json.dumps(content).encode()], "json", key)

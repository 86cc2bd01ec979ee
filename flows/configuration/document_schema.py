"""The document's JSON Schema, for editors. An import checks more than it can say."""

from __future__ import annotations

import json
from typing import Any

from flows.configuration import entry_schemas


def document_schema() -> dict[str, Any]:
    """Return the schema of a document of this product, code in the document or in files."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of Async Engine",
        "type": "object",
        "properties": {
            "$schema": {"type": "string"},
            "libraries": _list_of(_with_code_file(entry_schemas.LIBRARY)),
            "scripts": _list_of(_with_code_file(entry_schemas.SCRIPT)),
            "queues": _list_of(entry_schemas.QUEUE),
            "flows": _list_of(entry_schemas.FLOW),
            "rbac": {
                "type": "object",
                "propertyNames": entry_schemas.ROLE_NAME,
                "additionalProperties": {"anyOf": [entry_schemas.ROLE, entry_schemas.SHORT_ROLE]},
            },
            "tables": _list_of(entry_schemas.TABLE),
            "config": _list_of({"type": "string"}),
            "alertTargets": _list_of(entry_schemas.ALERT_TARGET),
            "alertThresholds": entry_schemas.ALERT_THRESHOLDS,
        },
        "additionalProperties": False,
    }


def schema_text() -> str:
    return json.dumps(document_schema(), indent=2) + "\n"


def _list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _with_code_file(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an entry whose code may stand in a file of the directory."""
    return entry | {
        "properties": entry["properties"] | {"codeFile": {"type": "string", "minLength": 1}},
        "required": [key for key in entry["required"] if key != "code"],
        "oneOf": [{"required": ["code"]}, {"required": ["codeFile"]}],
    }

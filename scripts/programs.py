"""What a script host is told of a script, made from a version of it or from unsaved changes."""

from __future__ import annotations

import json
from typing import Any

from scripts.calls import Library, Program
from scripts.models import Script, ScriptVersion


def program_of(script: ScriptVersion | Script) -> Program:
    """Return what runs. A script that is being edited has no version yet: it gets the id 0."""
    if isinstance(script, ScriptVersion):
        version_id, name = script.pk, script.script_name
    else:
        version_id, name = 0, script.name
    content = script.content()
    return Program(
        version_id=version_id,
        name=name,
        language=content["language"],
        code=content["code"],
        timeout_seconds=content["timeout"].total_seconds(),
        memory_mb=content["memory_mb"],
        libraries=tuple(Library(**library) for library in content["libraries"]),
        input_schema=_schema_text(content["input_schema"]),
        output_schema=_schema_text(content["output_schema"]),
        network=content["network"],
        allowed_hosts=tuple(content["allowed_hosts"]),
        private_addresses=content["private_addresses"],
        secrets=tuple(content["secrets"]),
        in_transaction=content["in_transaction"],
    )


def _schema_text(schema: dict[str, Any]) -> str:
    return json.dumps(schema) if schema else ""

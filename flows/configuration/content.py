"""What is inside a script, besides its code: its schemas."""

from __future__ import annotations

import json
from typing import Any

from scripts.schema import SchemaInvalid, compile_schema


def schema_fault(schema: dict[str, Any]) -> str | None:
    """Say why the object is no JSON Schema. A reference outside of it is refused, not fetched."""
    try:
        # As text: this keeps numbers beyond 64 bits.
        compile_schema(json.dumps(schema))
    except SchemaInvalid as error:
        return f"is not a JSON Schema: {error}"
    return None

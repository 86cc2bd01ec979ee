"""What is inside a script, besides its code: its schemas."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs


def schema_fault(schema: dict[str, Any]) -> str | None:
    """Say why the object is no JSON Schema. A reference outside of it is refused, not fetched."""
    try:
        # As text: this keeps numbers beyond 64 bits.
        jsonschema_rs.validator_for(json.dumps(schema), offline=True)
    except jsonschema_rs.ValidationError as error:
        place = "".join(f"[{part!r}]" for part in error.instance_path)
        return f"is not a JSON Schema: {place + ': ' if place else ''}{error.message}"
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        return f"is not a JSON Schema: {error}"
    return None

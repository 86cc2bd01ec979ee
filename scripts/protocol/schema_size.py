"""How much work a JSON Schema takes, computed without compiling it.

A schema of a few lines can refer to one definition twice, this one to another twice, and so on. A
check then visits as many places as there are paths through the references.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

# The most parts of a schema with its references followed. Explaining a mismatch takes about 50
# microseconds and 5 kB for each.
MAX_EXPANSION = 50_000
# Compiling more patterns than this takes long.
_MOST_PLAIN_PATTERNS = 50
# Keywords that refer to more than a plain reference, or check parts of a value again.
_NOT_PLAIN = {
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveAnchor",
    "$recursiveRef",
    "unevaluatedItems",
    "unevaluatedProperties",
}


@dataclass(frozen=True, slots=True)
class SchemaSize:
    """`expansion` counts the parts of a schema with its references followed.

    A schema is plain where checking a value takes at most its parts times those of the value. It is
    not plain where, for instance, a reference leads back to itself.
    """

    expansion: int
    is_plain: bool

    @classmethod
    def of(cls, text: str) -> SchemaSize:
        """Count the parts of a text. Whether the text is a valid schema is not checked here."""
        try:
            root = json.loads(text)
            count = _Count(root)
            expansion = count.of(root)
        except RecursionError:
            return cls(MAX_EXPANSION + 1, False)
        except ValueError:
            return cls(1, False)
        return cls(expansion, count.is_plain and count.patterns <= _MOST_PLAIN_PATTERNS)


class _Count:
    def __init__(self, root: Any) -> None:
        self.is_plain = True
        self.patterns = 0
        self._root = root
        self._known: dict[int, int] = {}
        self._open: set[int] = set()

    def of(self, part: Any) -> int:
        if isinstance(part, list):
            return 1 + sum(map(self.of, part))
        if not isinstance(part, dict):
            return 1
        identity = id(part)
        if identity in self._open:
            self.is_plain = False
            return 1
        if identity not in self._known:
            self._open.add(identity)
            self._note(part)
            self._known[identity] = 1 + sum(map(self.of, part.values())) + self._of_target(part)
            self._open.remove(identity)
        return self._known[identity]

    def _of_target(self, part: dict[str, Any]) -> int:
        reference = part.get("$ref")
        if not isinstance(reference, str):
            return 0
        target = self._target(reference)
        if target is None:
            self.is_plain = False
            return 0
        return self.of(target)

    def _target(self, reference: str) -> dict[str, Any] | list[Any] | None:
        """Return the target of a reference within the document (RFC 6901), None for others."""
        if reference != "#" and not reference.startswith("#/"):
            return None
        target = self._root
        for step in unquote(reference).split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and step.isdecimal() and int(step) < len(target):
                target = target[int(step)]
            elif isinstance(target, dict) and step in target:
                target = target[step]
            else:
                return None
        return target if isinstance(target, dict | list) else None

    def _note(self, part: dict[str, Any]) -> None:
        has_own_address = part is not self._root and isinstance(part.get("$id"), str)
        if has_own_address or part.get("format") == "regex" or not _NOT_PLAIN.isdisjoint(part):
            self.is_plain = False
        self.patterns += isinstance(part.get("pattern"), str)
        if isinstance(named := part.get("patternProperties"), dict):
            self.patterns += len(named)

"""How much there is to do for a JSON Schema, told without compiling it.

A schema of some lines can refer to one definition twice, and this to another twice, and so on: what
is wrong with a value is then looked for in as many places as there are ways through it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

# Parts of a schema with its references followed. It takes some 50 microseconds and 5 kB to say of
# each why a value does not match.
MAX_EXPANSION = 50_000
# With more patterns than this, compiling them takes a while.
_MOST_PLAIN_PATTERNS = 50
# What refers to more than a reference shows, or looks at parts of a value again.
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

    A schema is plain where the work for a value is no more than its parts times those of the value:
    where no reference leads back to itself, for instance.
    """

    expansion: int
    is_plain: bool

    @classmethod
    def of(cls, text: str) -> SchemaSize:
        """Count. Whether the text is a schema at all is for others to say."""
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
        """Return what a reference within the document points at (RFC 6901), None for others."""
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

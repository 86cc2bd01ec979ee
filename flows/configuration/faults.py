"""All faults of a document that can be found at once, each with its place."""

from __future__ import annotations

import json
import re

from flows.errors import FlowError

_WORD = re.compile(r"[\w-]+")


class ConfigurationInvalid(FlowError):
    """The configuration is refused, nothing is stored. `errors` has `{"path", "detail"}` each."""

    errors: list[dict[str, str]] = []


class Faults:
    def __init__(self) -> None:
        self._found: list[dict[str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def add(self, path: str, detail: str) -> None:
        self._found.append({"path": path, "detail": detail})

    def raise_if_any(self) -> None:
        if not self._found:
            return
        lines = [
            f"{fault['path']}: {fault['detail']}" if fault["path"] else fault["detail"]
            for fault in self._found
        ]
        raise ConfigurationInvalid("\n".join(lines), errors=self._found)


def inside(path: str, *parts: str | int) -> str:
    """Return the place of a part: `flows[2].steps[0].script`, `rbac["loan officers"].start`."""
    for part in parts:
        if isinstance(part, int):
            path = f"{path}[{part}]"
        elif _WORD.fullmatch(part):
            path = f"{path}.{part}" if path else part
        else:
            path = f"{path}[{quoted(part)}]"
    return path


def quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)

"""`context.config`: the values of the installation, which a script's worker reads for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class ConfigValues(Mapping[str, str]):
    """The values by name, read when the script asks for the first one, once for a message."""

    def __init__(self, send: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._send = send
        self._known: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        """Return the value. Raises KeyError, or RuntimeError where it cannot be read now."""
        values = self._values()
        if name not in values:
            raise KeyError(f"There is no value {name!r} in this installation.")
        return values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def _values(self) -> dict[str, str]:
        if self._known is None:
            reply = self._send({})
            if "error" in reply:
                raise RuntimeError(reply["error"])
            self._known = reply["values"]
        return self._known

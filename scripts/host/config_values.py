"""`context.config`: the values of the installation, which a script's worker reads for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from scripts.protocol.errors import NoValue


class ConfigValues(Mapping[str, str]):
    """The values by name, read when the script asks for the first one, once for a message."""

    def __init__(self, send: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._send = send
        self._known: dict[str, str] | None = None
        self._looked_up: dict[str, str | None] = {}

    def __getitem__(self, name: str) -> str:
        """Return the value. Raises NoValue, a KeyError, or RuntimeError where it cannot be read
        now.
        """
        value = self._values().get(name)
        if value is None and (value := self.newest(name)) is None:
            raise NoValue(f"There is no value {name!r} in this installation.")
        return value

    def get(self, name: str, default: Any = None) -> Any:
        return self._values().get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._values()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def newest(self, name: str) -> str | None:
        """Return a value that the worker reads anew, once for a message; None if there is none."""
        if name not in self._looked_up:
            self._looked_up[name] = self._read({"isNewest": True}).get(name)
        return self._looked_up[name]

    def _given(self, values: dict[str, str]) -> None:
        """Take what the worker has told already."""
        self._known = values

    def _have_changed(self) -> bool:
        """Whether values that the script has read are others now, or cannot be read."""
        if self._known is None:
            return False
        try:
            newest = self._read({"isNewest": True})
        except RuntimeError:
            return True
        return any(newest.get(name) != value for name, value in self._known.items())

    def _values(self) -> dict[str, str]:
        if self._known is None:
            self._known = self._read({})
        return self._known

    def _read(self, request: dict[str, Any]) -> dict[str, str]:
        reply = self._send(request)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        values: dict[str, str] = reply["values"]
        return values

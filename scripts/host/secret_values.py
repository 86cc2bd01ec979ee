"""`context.secrets`: the secrets that a script was given, which its worker reads for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Send = Callable[[dict[str, Any]], dict[str, Any]]

# What keeps a secret from a script for good; all else may be better at the next try.
_ABSENT = ("unknown", "not-granted")


class Secrets(Mapping[str, str]):
    """The values by name, each read when the script asks for it, once for a message.

    There is nothing under a name that the script was given but that nobody has entered yet.
    """

    def __init__(self, names: tuple[str, ...], send: Send) -> None:
        self._names = names
        self._send = send
        self._replies: dict[str, dict[str, Any]] = {}

    def __getitem__(self, name: str) -> str:
        """Return the value. Raises KeyError, or RuntimeError where it cannot be read now."""
        reply = self._reply(name)
        if "error" not in reply:
            value: str = reply["value"]
            return value
        if reply["kind"] in _ABSENT:
            raise KeyError(reply["error"])
        raise RuntimeError(reply["error"])

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _reply(self, name: str) -> dict[str, Any]:
        if name not in self._replies:
            self._replies[name] = self._send({"name": name})
        return self._replies[name]

"""`context.secrets`: the secrets that a script may read, which its worker reads for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from scripts.protocol.errors import NotListed, NotReadable, NoValue

Send = Callable[[dict[str, Any]], dict[str, Any]]

_UNKNOWN = "unknown"
_NOT_GRANTED = "not-granted"
_NOT_READABLE = "not-readable"


class Secrets(Mapping[str, str]):
    """The values by name, each read when the script asks for it, once for a message.

    A secret that the script may read but that has no value yet is missing here.
    """

    def __init__(self, names: tuple[str, ...], send: Send) -> None:
        self._names = names
        self._send = send
        self._replies: dict[str, dict[str, Any]] = {}

    def __getitem__(self, name: str) -> str:
        """Return the value. Raises NoValue, a KeyError, where there is none, NotListed, another,
        where the script does not list it, RuntimeError where it cannot be read now, and
        NotReadable, a PermissionError, where it is for signatures and certificates alone.
        """
        reply = self._reply(name)
        if "error" not in reply:
            value: str = reply["value"]
            return value
        if reply["kind"] == _NOT_READABLE:
            raise NotReadable(reply["error"])
        if reply["kind"] == _NOT_GRANTED:
            raise NotListed(reply["error"])
        if reply["kind"] == _UNKNOWN:
            raise NoValue(reply["error"])
        raise RuntimeError(reply["error"])

    def __contains__(self, name: object) -> bool:
        # Otherwise a loop over all of them would fail.
        if name in self._names and self._reply(str(name)).get("kind") == _NOT_READABLE:
            return False
        return super().__contains__(name)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _reply(self, name: str) -> dict[str, Any]:
        if name not in self._replies:
            self._replies[name] = self._send({"name": name})
        return self._replies[name]

"""``context.secrets``: the secrets that a script was given, which its worker knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Send = Callable[[dict[str, Any]], dict[str, Any]]

# What keeps a secret from a script for good; the rest may be better at the next try.
_ABSENT = ("unknown", "not-granted")


class Secrets:
    """Reads a secret when the script asks for it, once for a message."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._replies: dict[str, dict[str, Any]] = {}

    def __getitem__(self, name: str) -> str:
        """Return the value. Raises KeyError where the script has no such secret."""
        reply = self._reply(name)
        if reply.get("kind") in _ABSENT:
            raise KeyError(reply["error"])
        value: str = reply["value"]
        return value

    def __contains__(self, name: str) -> bool:
        return self._reply(name).get("kind") not in _ABSENT

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def _reply(self, name: str) -> dict[str, Any]:
        if name not in self._replies:
            reply = self._send({"name": name})
            if "error" in reply and reply["kind"] not in _ABSENT:
                raise RuntimeError(reply["error"])
            self._replies[name] = reply
        return self._replies[name]

"""The host's end of the pipe to its worker. The worker's end is in ``host_client.py``."""

import json
import os
from typing import Any

from scripts.wire import HEAD


class Channel:
    """Reads frames and writes answers. Ends the process when the worker is gone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read_frame(self) -> tuple[Any, bytes]:
        head_bytes, body_bytes = HEAD.unpack(self._read(HEAD.size))
        content = self._read(head_bytes + body_bytes)
        return json.loads(content[:head_bytes]), content[head_bytes:]

    def write(self, content: bytes | memoryview) -> None:
        rest = memoryview(content)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except OSError:
                os._exit(0)

    def _read(self, size: int) -> bytes:
        content = os.read(self._descriptor, size)
        if len(content) == size:
            return content
        pieces = [content]
        missing = size - len(content)
        while missing:
            if not pieces[-1]:
                os._exit(0)
            pieces.append(os.read(self._descriptor, missing))
            missing -= len(pieces[-1])
        return b"".join(pieces)

"""The host's end of the pipe to its worker. The worker's end is in `host_client.py`."""

import json
import os
from collections import deque
from typing import Any

from scripts.host.interruption import Interrupted, state
from scripts.protocol.wire import EXIT_BROKEN, EXIT_OUT_OF_MEMORY, HEAD, REPLY


class Channel:
    """Reads frames and writes answers. Ends the process when the worker is gone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._groups: deque[tuple[Any, bytes]] = deque()

    def read_group(self) -> tuple[Any, bytes]:
        """Read the next group of calls; skip replies that came after their call had ended."""
        if self._groups:
            return self._groups.popleft()
        while True:
            head, content = self.read_frame()
            if REPLY not in head:
                return head, content

    def read_reply(self, call: int) -> tuple[int, bytes]:
        """Wait for a reply to a request of this call; set groups aside that come before it."""
        state.waits = True
        try:
            while True:
                head, content = self.read_frame()
                if REPLY not in head:
                    self._groups.append((head, content))
                elif head[REPLY][0] == call:
                    return head[REPLY][1], content
        # A script could catch these errors and go on: calls of others that were half read would be
        # lost.
        except MemoryError:
            os._exit(EXIT_OUT_OF_MEMORY)
        except Interrupted:
            # The host ends after its answer.
            raise
        except BaseException:
            os._exit(EXIT_BROKEN)
        finally:
            state.waits = False

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

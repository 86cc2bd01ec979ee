"""What an abusive script is to these tests."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from tests.waiting import PATIENCE

REFUSED = r"ScriptInvalid: PermissionError: .*"
TIMED_OUT = r"ScriptTimedOut: The script ran longer than its time limit of \S+ s\.( It was at .*)?"
OUT_OF_MEMORY = r"Script(OutOfMemory|Killed): The script ran out of memory .*"
PROTOCOL_BROKEN = r"ScriptKilled: protocol: the host's answer made no sense"
# Shorter than any user would choose, long enough for a busy machine.
SECONDS = 0.25


def killed_by(signal: str) -> str:
    return rf"ScriptKilled: The script's process was ended: signal \d+ \({signal}\)\."


def exited(code: int) -> str:
    return rf"ScriptKilled: The script's process was ended: exit code {code}\."


def output(json: str) -> str:
    """An end with this output, a regular expression: what it tried did not help it."""
    return rf"output: .*{json}.*"


@dataclass(frozen=True)
class Attack:
    """Code that does what scripts must not, and how it is to end, as a regular expression.

    In Python the code is the body of ``run``. It knows the ``bait`` and the modules that it takes
    by tricks; what it returns becomes the payload.
    """

    cause: str
    code: str
    language: str = "python"
    # Attacks that are to end otherwise have all the time that a busy machine may need.
    timeout_seconds: float = PATIENCE
    memory_mb: int = 128
    tables: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    @property
    def script(self) -> str:
        if self.language != "python":
            return self.code
        body = textwrap.indent(textwrap.dedent(self.code).strip(), "    ")
        return f"{_TRICKS}\ndef attack(message, context, bait):\n{body}\n{_RUN}"


# Around the import list to the real modules, and past those to the kernel.
_TRICKS = """
import json, time
sys = json.codecs.sys
modules = sys.modules
os, ctypes, gc, signal, _socket = map(modules.get, ("os", "ctypes", "gc", "signal", "_socket"))

def syscall(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    words = [a if isinstance(a, (bytes, ctypes.Array)) else ctypes.c_long(a) for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def host():
    frame = sys._getframe()
    while not hasattr(frame.f_locals.get("self"), "_channel"):
        frame = frame.f_back
    return frame.f_locals["self"]

def channel():
    return host()._channel._descriptor
"""

_RUN = """
def run(message, context):
    return message | {"payload": attack(message, context, message["payload"])}
"""

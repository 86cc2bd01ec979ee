"""The protocol between a worker, its zygote and its hosts. All three import this.

    worker ── CONTROL, with two descriptors ──► zygote      fork a host, kill or watch one
    worker ◄── CONTROL ──────────────────────── zygote      a host ended, and how
    worker ── HEAD, JSON, bodies ─────────────► host        its program, then groups of calls
    worker ◄── ANSWER, output, JSON ─────────── host        one a call, in the order of the calls
    worker ◄── ANSWER, number, JSON ─────────── host        a request of the running call ...
    worker ── HEAD, JSON, reply ──────────────► host        ... and the reply to it
    worker ◄── shared page ───────────────────► host        what runs now, what is not sent yet

The calls of a host are numbered from 1, and so are the requests of a call. Bodies and outputs are
JSON texts that pass unchanged. A reply may come behind groups that the host has not begun, and
after the end of its call, whose number it has.
"""

import mmap
import signal
import struct
from typing import Any

from scripts.protocol.errors import (
    InputInvalid,
    OutputInvalid,
    ScriptError,
    ScriptInvalid,
    ScriptOutOfMemory,
    ScriptRaised,
    ScriptRejected,
    ScriptRetry,
    ScriptTimedOut,
    ScriptTooLate,
    ScriptWait,
)


class ProtocolError(Exception):
    """A host sent something that no host sends."""


# Worker and zygote: command, host, two values. FORK: the bytes of memory that the host may take.
# ENDED: its wait status, and the most bytes that it took. WATCH: the host has no call, so it is
# killed if it computes. ASK: at this signal it tells where its script is. CONNECT: the descriptor
# is another worker's socket.
CONTROL = struct.Struct("<cIqq")
FORK, KILL, ENDED, WATCH, UNWATCH, ASK, CONNECT = b"F", b"K", b"E", b"R", b"W", b"A", b"C"
FORK_FAILED = -1
# At the first signal a host writes the stack of its Python code into its pipe. At the second one it
# interrupts JavaScript and answers.
TELL, INTERRUPT = signal.SIGUSR1, signal.SIGUSR2

# Worker to host: bytes of JSON, bytes of bodies or of the reply. The JSON of a reply is an object
# whose key REPLY has the numbers of the call and of its request.
HEAD = struct.Struct("<II")
REPLY = "reply"

# Host to worker: number of the call, kind, bytes of output, bytes of JSON, start, seconds.
ANSWER = struct.Struct("<QBIIdd")
READY, OUTPUT, RETURNED = 0, 1, 7
ERRORS: dict[int, type[ScriptError]] = {
    2: ScriptRaised,
    3: ScriptRetry,
    4: ScriptRejected,
    5: OutputInvalid,
    6: ScriptInvalid,
    8: ScriptTooLate,
    9: InputInvalid,
    11: ScriptOutOfMemory,
    12: ScriptTimedOut,
    13: ScriptWait,
}
KINDS = {error: kind for kind, error in ERRORS.items()}
# An output with which the run, or its branch, ends at a step that is not the last.
FINISHED = 14
# An output that goes on at another step than the next one, which the JSON names.
WENT = 15
# In the middle of a call: b"<number> <service>" in place of an output, and the request as JSON.
REQUEST = 10

# The memory that worker and host share. First words of eight bytes, each read and written at once.
# The host writes when the running call began, by the monotonic clock, 0 between calls ...
BEGAN = 0
# ... and then the call's number, so that no call is ever seen with the start of an earlier one.
BEGUN = 1
# The worker takes back all calls up to this number that are not begun.
RECALLED = 8
# The number of bytes of answers that are not sent yet and stand at UNSENT_AT. The worker reads them
# there when the host hangs or dies in a later call.
UNSENT = 2
# The last call whose output is being written, or was. A host that a signal ends at that point has
# run out of memory: libraries in C do not always notice.
WRITTEN = 3
# The log of the call whose number this is: its lines in all, the block that is written to, and the
# bytes in each of three blocks, which stand at LOG_AT.
LOG_CALL, LOG_COUNT, LOG_BLOCK, LOG_SIZES = 16, 17, 18, 19
# The progress of the call whose number this is, and how often a host has told any. It stands in one
# of two places at PROGRESS_AT.
PROGRESS_CALL, PROGRESS_WRITES = 24, 25
UNSENT_AT = mmap.PAGESIZE
MAX_UNSENT_BYTES = 128 * 1024
LOG_AT = UNSENT_AT + MAX_UNSENT_BYTES
LOG_BLOCK_BYTES = 128 * 1024
PROGRESS_AT = LOG_AT + 3 * LOG_BLOCK_BYTES
PROGRESS_BYTES = 2 * 1024
SHARED_BYTES = PROGRESS_AT + 2 * PROGRESS_BYTES
# What is done, the total or NaN, epoch seconds, bytes of text.
PROGRESS = struct.Struct("<dddI")
# A line of the log: epoch seconds, level, bytes of text.
LOG_LINE = struct.Struct("<dBI")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

# Limits of one call: its requests, and those without a reply at one time.
MAX_REQUESTS = 1000
MAX_REQUESTS_IN_FLIGHT = 8
MAX_REQUEST_BYTES = 1024 * 1024
# As it is sent: as JSON, whose escapes make a text longer, with bytes in base64.
MAX_SENT_REQUEST_BYTES = 2 * MAX_REQUEST_BYTES
# As JSON, whose escapes make a text longer.
MAX_REPLY_BYTES = 16 * 1024 * 1024

# The first lines of a call's log, and as many of the last.
KEPT_LOG_LINES = 50
MAX_LOG_LINES = 2 * KEPT_LOG_LINES
MAX_LOG_LENGTH = 8 * 1024
MAX_TEXT_LENGTH = 16 * 1024

# How a host ends when it is not killed.
EXIT_BROKEN = 70
EXIT_OUT_OF_MEMORY = 71
EXIT_REFUSED = 77


def left_out(lines: int, at: float) -> dict[str, Any]:
    """Return the line of a log that stands for those between the first and the last ones."""
    text = f"{lines} lines are left out here; the first and last {KEPT_LOG_LINES} are kept."
    if lines == 1:
        text = text.replace("lines are", "line is", 1)
    return {"at": at, "level": "warning", "text": text}

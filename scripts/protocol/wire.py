"""The protocol between a worker, its zygote and its hosts. All three import this.

    worker ── CONTROL, with two descriptors ──► zygote      fork a host, kill or watch one
    worker ◄── CONTROL ──────────────────────── zygote      a host ended, and how
    worker ── HEAD, JSON, bodies ─────────────► host        its program, then groups of calls
    worker ◄── ANSWER, output, JSON ─────────── host        one a call, in the order of the calls
    worker ◄── ANSWER, number, JSON ─────────── host        what the running call asks for ...
    worker ── HEAD, JSON, reply ──────────────► host        ... and the reply to it
    worker ◄── shared page ───────────────────► host        what runs now, what is not sent yet

Calls of a host are numbered from 1, and so is what a call asks for. Bodies and outputs are JSON
texts that go through as they are. A reply may come behind groups that the host has not begun, and
after the end of the call that asked, which it names.
"""

import mmap
import struct

from scripts.protocol.errors import (
    InputInvalid,
    OutputInvalid,
    ScriptError,
    ScriptInvalid,
    ScriptOutOfMemory,
    ScriptRaised,
    ScriptRejected,
    ScriptRetry,
    ScriptTooLate,
)


class ProtocolError(Exception):
    """A host sent something that no host sends."""


# Worker and zygote: what, host, two values. To fork a host: how many bytes it may take. When one
# has ended: its wait status, and how many it took at most. A host that rests has no call and is
# not to compute.
CONTROL = struct.Struct("<cIqq")
FORK, KILL, ENDED, WATCH, UNWATCH = b"F", b"K", b"E", b"R", b"W"
FORK_FAILED = -1

# Worker to host: bytes of JSON, bytes of bodies or of the reply. The JSON of a reply is an object
# with this key, of which the value is the numbers of the call and of what it asked for.
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
}
KINDS = {error: kind for kind, error in ERRORS.items()}
# In the middle of a call: in place of an output b"<number> <service>", and the request as JSON.
REQUEST = 10

# The memory that worker and host share. First words of eight bytes, each read and written at once.
# The host writes when the running call began, by the monotonic clock, 0 between calls ...
BEGAN = 0
# ... and then the call's number, so that no call is ever seen with an older start than its own.
BEGUN = 1
# The worker takes back all calls up to this number that are not begun.
RECALLED = 8
# Then answers that are not sent yet, so many bytes of them. The worker finds them there when the
# host hangs or dies in a later call.
UNSENT = 2
# The last call of which the output is being written, or was. A host that dies of a signal then has
# run out of memory: parts written in other languages do not always notice.
WRITTEN = 3
UNSENT_AT = mmap.PAGESIZE
MAX_UNSENT_BYTES = 128 * 1024
SHARED_BYTES = UNSENT_AT + MAX_UNSENT_BYTES

# Of one call: how often it may ask, and how often without having got a reply.
MAX_REQUESTS = 1000
MAX_REQUESTS_IN_FLIGHT = 8
MAX_REQUEST_BYTES = 1024 * 1024
# As JSON, in which a text may be longer than it is.
MAX_REPLY_BYTES = 16 * 1024 * 1024

MAX_LOG_LINES = 100
MAX_LOG_LENGTH = 8 * 1024
MAX_TEXT_LENGTH = 16 * 1024

# How a host ends when it is not killed.
EXIT_BROKEN = 70
EXIT_OUT_OF_MEMORY = 71
EXIT_REFUSED = 77

"""The script host: the process that runs users' scripts, and the zygote that makes such processes.

Both are children of a worker and are started with ``python -I -S``: no Django, no settings, no
environment. The zygote has imported everything that scripts may need and forks a host in a few
milliseconds. A host gives up whatever a script must not have, reads its program from the worker,
then runs one group of calls after the other.

On a host's channel the worker writes frames (HEAD, JSON, bodies) and the host answers (ANSWER,
output, JSON). Bodies and outputs are JSON texts that the worker never parses.
"""

import contextlib
import ctypes
import gc
import importlib.machinery
import json
import mmap
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from scripts.envelope import complete, encode, plain_text
from scripts.errors import (
    OutputInvalid,
    ScriptError,
    ScriptInvalid,
    ScriptRaised,
    ScriptRejected,
    ScriptRetry,
)
from scripts.languages import LANGUAGES, Script, preload

# Worker and zygote: what, host, two values.
CONTROL = struct.Struct("<cIqq")
FORK, KILL, ENDED = b"F", b"K", b"E"
FORK_FAILED = -1

# Worker to host: bytes of JSON, bytes of bodies.
HEAD = struct.Struct("<II")
# Host to worker: number of the call, kind, bytes of output, bytes of JSON, start, seconds.
ANSWER = struct.Struct("<QBIIdd")
HELLO, OUTPUT, RETURNED = 0, 1, 7
ERRORS: dict[int, type[ScriptError]] = {
    2: ScriptRaised,
    3: ScriptRetry,
    4: ScriptRejected,
    5: OutputInvalid,
    6: ScriptInvalid,
}
_KINDS = {error: kind for kind, error in ERRORS.items()}

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
UNSENT_AT = mmap.PAGESIZE
MAX_UNSENT_BYTES = 128 * 1024
SHARED_BYTES = UNSENT_AT + MAX_UNSENT_BYTES

MAX_LOG_LINES = 100
MAX_LOG_LENGTH = 8 * 1024
MAX_TEXT_LENGTH = 16 * 1024
_LEVELS = {"debug", "info", "warning", "error", "critical"}

# Answers leave after so long, so that a long group reports progress.
_FLUSH_SECONDS = 0.005

EXIT_REFUSED = 77
EXIT_BROKEN = 70
EXIT_OUT_OF_MEMORY = 71

# Taken before a script can put others in their place.
_now = time.time
_clock = time.monotonic

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38


def main() -> NoReturn:
    """Run the zygote: the worker gives its end of the control socket, its pid and a uid or -1."""
    control, worker, uid = map(int, sys.argv[1:4])
    with contextlib.suppress(OSError, AttributeError):
        _die_with_parent(worker)
    _prepare()
    Zygote(socket.socket(fileno=control), None if uid < 0 else uid).run()
    os._exit(0)


class Context:
    """What a script knows about its call, besides the message."""

    __slots__ = ("_logs", "attempt", "correlation_id", "delivery_id", "flow", "queue", "step")

    def __init__(
        self,
        correlation_id: str,
        flow: str,
        step: str,
        queue: str,
        attempt: int,
        delivery_id: str,
        logs: list[dict[str, Any]],
    ) -> None:
        self.correlation_id = correlation_id
        self.flow = flow
        self.step = step
        self.queue = queue
        self.attempt = attempt
        self.delivery_id = delivery_id
        self._logs = logs

    def log(self, text: Any, level: str = "info") -> None:
        """Keep a line with the call's result."""
        lines = len(self._logs)
        if lines > MAX_LOG_LINES:
            return
        if lines == MAX_LOG_LINES:
            text, level = f"The log was cut after {MAX_LOG_LINES} lines.", "warning"
        self._logs.append(
            {
                "at": time.time(),
                "level": level if level in _LEVELS else "info",
                "text": plain_text(str(text), MAX_LOG_LENGTH),
            }
        )


class Channel:
    """The host's end of the pipe to its worker. Ends the process when the worker is gone."""

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


class Host:
    """Runs one script, call after call, until the worker closes the channel."""

    def __init__(self, channel: Channel, shared: mmap.mmap) -> None:
        self._channel = channel
        self._shared = memoryview(shared)
        self._times = self._shared.cast("d")
        self._numbers = self._shared.cast("Q")
        self._number = 0
        self._unsent = 0
        self._flushed_at = 0.0
        self._is_worn_out = False

    def serve(self, missing: list[str]) -> NoReturn:
        self._greet(missing)
        program, _ = self._channel.read_frame()
        script = _compile(program)
        while True:
            self._run_group(script, *self._channel.read_frame())

    def _greet(self, missing: list[str]) -> None:
        extra = json.dumps(missing).encode()
        self._channel.write(ANSWER.pack(0, HELLO, 0, len(extra), 0.0, 0.0) + extra)

    def _run_group(self, script: Script, head: Any, bodies: bytes) -> None:
        flow, step, queue, is_last = head["site"]
        end = 0
        self._flushed_at = _clock()
        for correlation_id, attempt, delivery_id, size in head["calls"]:
            start, end = end, end + size
            started_at, began = _now(), _clock()
            if not self._begin(began):
                self._answer(RETURNED, b"", b"", 0.0, 0.0)
                continue
            logs: list[dict[str, Any]] = []
            context = Context(correlation_id, flow, step, queue, attempt, delivery_id, logs)
            kind, output, extra = self._call(script, bodies[start:end], context, is_last)
            ended = _clock()
            self._answer(kind, output, extra, started_at, ended - began)
            if ended - self._flushed_at > _FLUSH_SECONDS:
                self._flush()
        self._flush()

    def _begin(self, now: float) -> bool:
        """Mark the next call as begun; False if the worker has taken it back."""
        self._number += 1
        numbers, number = self._numbers, self._number
        if number <= numbers[RECALLED]:
            return False
        self._times[BEGAN] = now
        numbers[BEGUN] = number
        # The worker recalls first and looks at the mark then. Looking again after marking, one of
        # the two sees the other.
        return number > numbers[RECALLED]

    def _call(
        self, script: Script, body: bytes, context: Context, is_last: bool
    ) -> tuple[int, bytes, bytes]:
        """Run the script once; answer the kind of the outcome, the output and all else as JSON."""
        logs, correlation_id = context._logs, context.correlation_id
        warning = error = None
        text = b""
        try:
            output = script.run(body, context)
            if not is_last:
                output, warning = complete(output, correlation_id)
            text = encode(output)
        except ScriptError as reason:
            error = _described(reason)
        except BaseException as reason:
            # After a MemoryError the heap is in pieces: another host takes over from here.
            self._is_worn_out = isinstance(reason, MemoryError)
            error = _described(_explained(script, reason))
        output = None
        script.forget()
        if error is None:
            return OUTPUT, text, _extra(None, warning, logs)
        return error[0], b"", _extra(error[1], None, logs)

    def _answer(
        self, kind: int, output: bytes, extra: bytes, started_at: float, seconds: float
    ) -> None:
        size = ANSWER.size + len(output) + len(extra)
        if self._unsent + size > MAX_UNSENT_BYTES:
            self._flush()
        header = (self._number, kind, len(output), len(extra), started_at, seconds)
        if size > MAX_UNSENT_BYTES:
            self._channel.write(ANSWER.pack(*header) + output + extra)
            return
        start = UNSENT_AT + self._unsent
        ANSWER.pack_into(self._shared, start, *header)
        start += ANSWER.size
        self._shared[start : start + len(output)] = output
        if extra:
            start += len(output)
            self._shared[start : start + len(extra)] = extra
        self._unsent += size
        self._numbers[UNSENT] = self._unsent

    def _flush(self) -> None:
        # While this waits for a worker that is busy elsewhere, no call is running.
        self._times[BEGAN] = 0.0
        self._channel.write(self._shared[UNSENT_AT : UNSENT_AT + self._unsent])
        self._numbers[UNSENT] = self._unsent = 0
        self._flushed_at = _clock()
        if self._is_worn_out:
            os._exit(0)


class Zygote:
    """Forks hosts for a worker, kills them when told to, and reports how each one ended."""

    def __init__(self, control: socket.socket, uid: int | None) -> None:
        self._control = control
        self._uid = uid
        self._pids: dict[int, int] = {}
        self._hosts: dict[int, tuple[int, int]] = {}
        self._wakeup, self._alarm = socket.socketpair()

    def run(self) -> None:
        """Serve until the worker is gone."""
        self._listen_for_deaths()
        poller = select.poll()
        poller.register(self._wakeup, select.POLLIN)
        poller.register(self._control, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poller.poll()]
            if self._wakeup.fileno() in ready:
                self._wakeup.recv(4096)
                self._report_deaths()
            if self._control.fileno() in ready and not self._obey():
                break
        self._end_all()

    def _listen_for_deaths(self) -> None:
        self._wakeup.setblocking(False)
        self._alarm.setblocking(False)
        signal.set_wakeup_fd(self._alarm.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _obey(self) -> bool:
        """Do what the worker asks for; False when there is no worker any more."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, CONTROL.size, 2)
        except OSError:
            return False
        if len(message) < CONTROL.size:
            return False
        what, host, memory_bytes, _ = CONTROL.unpack(message)
        if what == FORK:
            self._fork(host, memory_bytes, descriptors)
        elif what == KILL and host in self._pids:
            os.kill(self._pids[host], signal.SIGKILL)
        return True

    def _fork(self, host: int, memory_bytes: int, descriptors: list[int]) -> None:
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            self._tell(ENDED, host, FORK_FAILED, 0)
        else:
            if pid == 0:
                channel, memory = descriptors
                _become_host(channel, memory, zygote, self._uid, memory_bytes)
            self._pids[host] = pid
            self._hosts[pid] = (host, memory_bytes)
        for descriptor in descriptors:
            os.close(descriptor)

    def _report_deaths(self) -> None:
        while self._hosts:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            host, memory_bytes = self._hosts.pop(pid)
            del self._pids[host]
            self._tell(ENDED, host, status, _was_full(usage, memory_bytes))

    def _tell(self, what: bytes, host: int, *values: int) -> None:
        with contextlib.suppress(OSError):
            self._control.sendall(CONTROL.pack(what, host, *values))

    def _end_all(self) -> None:
        for pid in self._hosts:
            os.kill(pid, signal.SIGKILL)
        for pid in self._hosts:
            os.waitpid(pid, 0)


def seal(zygote: int, uid: int | None, memory_bytes: int) -> list[str]:
    """Give up all that a script must not have; answer the measures that this system lacks.

    Without the other user id nothing runs; the rest is a matter of the kernel.
    """
    _drop_privileges(uid)
    measures: dict[str, Callable[[], None]] = {
        "memory limit": lambda: _limit(resource.RLIMIT_AS, _mapped_bytes() + memory_bytes),
        "death with the worker": lambda: _die_with_parent(zygote),
        "no new privileges": lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1),
        "no tracing": lambda: _prctl(_PR_SET_DUMPABLE, 0),
        "no core files": lambda: _limit(resource.RLIMIT_CORE, 0),
        "no files": lambda: _limit(resource.RLIMIT_FSIZE, 0),
        "no processes": lambda: _limit(resource.RLIMIT_NPROC, 0),
        "no descriptors": lambda: _limit(resource.RLIMIT_NOFILE, 0),
    }
    return [name for name, measure in measures.items() if not _is_taken(measure)]


def _prepare() -> None:
    """Bring the zygote into the state that every host begins with."""
    # The parent ends its hosts; a signal to the whole process group must not, in mid-drain.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.environ["TZ"] = "UTC"
    time.tzset()
    os.environ.clear()
    preload()
    # What is not loaded by now cannot be: say so at once instead of looking for files.
    sys.meta_path.remove(importlib.machinery.PathFinder)
    sys.path.clear()
    gc.collect()
    gc.freeze()


def _become_host(
    channel: int, memory: int, zygote: int, uid: int | None, memory_bytes: int
) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        shared = mmap.mmap(memory, SHARED_BYTES)
        missing = seal(zygote, uid, memory_bytes)
        _close_all_but(channel)
        Host(Channel(channel), shared).serve(missing)
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)
    finally:
        os._exit(EXIT_BROKEN)


def _drop_privileges(uid: int | None) -> None:
    if uid is None:
        return
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        dropped = os.getresuid() == os.getresgid() == (uid, uid, uid) and not os.getgroups()
    except OSError:
        dropped = False
    if not dropped:
        print(f"script host: cannot become user {uid}, no script will run", file=sys.stderr)
        os._exit(EXIT_REFUSED)


def _close_all_but(channel: int) -> None:
    sys.stdin = sys.stdout = sys.stderr = None
    os.closerange(0, channel)
    os.closerange(channel + 1, channel + 4096)


def _die_with_parent(parent: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


_libc = ctypes.CDLL(None, use_errno=True)


def _limit(what: int, value: int) -> None:
    resource.setrlimit(what, (value, value))


def _is_taken(measure: Callable[[], None]) -> bool:
    try:
        measure()
    except (OSError, ValueError, AttributeError):
        return False
    return True


def _mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE


def _was_full(usage: resource.struct_rusage, memory_bytes: int) -> int:
    """Guess from its peak whether a host died of its memory limit."""
    own = usage.ru_maxrss - resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(own * 1024 > memory_bytes * 0.8)


def _compile(program: dict[str, str]) -> Script:
    language = LANGUAGES.get(program["language"])
    if language is None:
        return Broken(ScriptInvalid(f"There is no language {program['language']!r}."))
    try:
        return language(program["name"], program["code"])
    except ScriptInvalid as error:
        return Broken(error)


class Broken:
    """Stands for a script that does not compile: every call says why."""

    def __init__(self, error: ScriptInvalid) -> None:
        self._error = error

    def run(self, body: bytes, context: Any) -> Any:
        # Without this the traceback would grow from call to call.
        raise self._error.with_traceback(None)

    def explain(self, error: BaseException) -> ScriptError:
        return self._error

    def forget(self) -> None:
        pass


def _explained(script: Script, error: BaseException) -> ScriptError:
    try:
        return script.explain(error)
    except BaseException:
        # The script's own exception fails when it is looked at.
        return ScriptRaised(type.__repr__(type(error)))


def _described(error: ScriptError) -> tuple[int, dict[str, Any]]:
    details = {
        name: plain_text(value, MAX_TEXT_LENGTH) if isinstance(value, str) else value
        for name, value in vars(error).items()
    }
    return _KINDS[type(error)], {"message": plain_text(str(error), MAX_TEXT_LENGTH), **details}


def _extra(error: dict[str, Any] | None, warning: str | None, logs: list[dict[str, Any]]) -> bytes:
    if error is None and warning is None and not logs:
        return b""
    return json.dumps({"error": error, "warning": warning, "logs": logs}).encode()

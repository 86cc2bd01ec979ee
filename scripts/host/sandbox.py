"""What a script host gives up before it runs a script: rights, files, processes, memory.

`enter_sandbox` takes every measure that the system knows and names those that it lacks;
`missing_here` names those of this machine without taking any. Where one is missing that `is_closed`
requires, no script runs. The measure that counts most is the filter of system calls: the calls that
a host may still make are in `system_calls.py`.
"""

import ctypes
import json
import mmap
import os
import platform
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from scripts.host import seccomp, system_calls
from scripts.protocol.wire import EXIT_REFUSED

# The users that scripts run as when the worker is root; no account has to exist. Each host has a
# user id of its own: its pid plus the first number, where a range begins that systemd assigns to no
# user. Where a container has no such ids, all hosts share the second.
SCRIPT_UIDS = (0x7000_0000, 64123)

FILTER = "filter of system calls"
OWN_USER = "user of its own"
_OF_LINUX = ("death with the worker", "no new privileges", "no tracing", "no writable code")

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def enter_sandbox(
    zygote: int, uids: tuple[int, int] | None, memory_bytes: int, channel: int
) -> list[str]:
    """Give up all that a script must not have; return the measures that this system lacks.

    Of the inherited descriptors only `channel` stays open. Where `uids` are given and none can be
    had, the process ends; other measures depend on the kernel.
    """
    missing = [] if uids is None or _drop_privileges(uids) else [OWN_USER]
    measures: dict[str, Callable[[], None]] = {
        "memory limit": lambda: _limit(resource.RLIMIT_AS, _mapped_bytes() + memory_bytes),
        "death with the worker": lambda: die_with_parent(zygote),
        "no new privileges": lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1),
        "no tracing": lambda: _prctl(_PR_SET_DUMPABLE, 0),
        "no writable code": _close_writable_code,
        "no core files": lambda: _limit(resource.RLIMIT_CORE, 0),
        "no files": lambda: _limit(resource.RLIMIT_FSIZE, 0),
        "no processes": lambda: _limit(resource.RLIMIT_NPROC, 0),
        "no descriptors": lambda: _limit(resource.RLIMIT_NOFILE, 0),
        "nothing open": lambda: _close_all_but(channel),
        # Last: it refuses system calls that the other measures need.
        FILTER: lambda: _filter_system_calls(channel),
    }
    return missing + [name for name, measure in measures.items() if not _is_taken(measure)]


def is_closed(missing: list[str]) -> bool:
    """Whether a process that lacks these measures is a sandbox all the same.

    Where hosts share a user id, the filter still keeps each from the others.
    """
    return set(missing) <= {OWN_USER}


def missing_here() -> list[str]:
    """Name the measures that hosts on this machine will lack, without trying them."""
    missing = [] if sys.platform == "linux" else list(_OF_LINUX)
    if _architecture() is None or not seccomp.is_known_to_kernel():
        missing.append(FILTER)
    return missing


def report_missing() -> NoReturn:
    """Enter the sandbox, write the missing measures to stdout as JSON, and end."""
    missing = enter_sandbox(os.getppid(), None, 1 << 28, channel=1)
    os.write(1, json.dumps(missing).encode())
    os._exit(0)


def die_with_parent(parent: int) -> None:
    """End with the thread that started this process.

    Raises OSError or AttributeError where the system cannot do that.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _drop_privileges(uids: tuple[int, int]) -> bool:
    """Become an unprivileged user; return whether no other host has it."""
    own, shared = uids[0] + os.getpid(), uids[1]
    if _become(own):
        return True
    if not _become(shared):
        print(f"script host: cannot become user {shared}, no script will run", file=sys.stderr)
        os._exit(EXIT_REFUSED)
    return False


def _become(uid: int) -> bool:
    try:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except (OSError, OverflowError):
        return False
    return os.getresuid() == os.getresgid() == (uid, uid, uid) and not os.getgroups()


def _close_all_but(descriptor: int) -> None:
    sys.stdin = sys.stdout = sys.stderr = None
    os.closerange(0, descriptor)
    os.closerange(descriptor + 1, descriptor + 4096)


def _filter_system_calls(channel: int) -> None:
    architecture = _architecture()
    if architecture is None:
        raise OSError("the numbers of this architecture's system calls are not known")
    rules = system_calls.rules(channel, os.getpid())
    seccomp.install(seccomp.program(architecture, rules, system_calls.REFUSAL))


def _architecture() -> seccomp.Architecture | None:
    if sys.platform != "linux" or sys.maxsize < 2**32:
        return None
    return system_calls.ARCHITECTURES.get(platform.machine())


def _close_writable_code() -> None:
    """Make all memory that can be executed read-only.

    The calls that C code makes back into Python go through such a page. They need to run it alone;
    new ones cannot be made after this. Raises OSError where some of it is left.
    """
    for start, end in _writable_code():
        address, size = ctypes.c_void_p(start), ctypes.c_size_t(end - start)
        if _libc.mprotect(address, size, mmap.PROT_READ | mmap.PROT_EXEC) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
    if any(_writable_code()):
        raise OSError("there is memory that can be written and executed")


def _writable_code() -> Iterator[tuple[int, int]]:
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, *_ = line.split()
        if "w" in rights and "x" in rights:
            start, _, end = place.partition("-")
            yield int(start, 16), int(end, 16)


def _is_taken(measure: Callable[[], None]) -> bool:
    try:
        measure()
    except (OSError, ValueError, AttributeError):
        return False
    return True


def _limit(what: int, value: int) -> None:
    resource.setrlimit(what, (value, value))


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE

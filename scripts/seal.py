"""What a script host gives up before it runs a script: rights, files, processes, memory.

``seal`` takes every measure that the system knows and tells which it lacks.
"""

import ctypes
import mmap
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.wire import EXIT_REFUSED

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def seal(zygote: int, uid: int | None, memory_bytes: int) -> list[str]:
    """Give up all that a script must not have; answer the measures that this system lacks.

    Without the other user id nothing runs; the rest is a matter of the kernel.
    """
    _drop_privileges(uid)
    measures: dict[str, Callable[[], None]] = {
        "memory limit": lambda: _limit(resource.RLIMIT_AS, _mapped_bytes() + memory_bytes),
        "death with the worker": lambda: die_with_parent(zygote),
        "no new privileges": lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1),
        "no tracing": lambda: _prctl(_PR_SET_DUMPABLE, 0),
        "no core files": lambda: _limit(resource.RLIMIT_CORE, 0),
        "no files": lambda: _limit(resource.RLIMIT_FSIZE, 0),
        "no processes": lambda: _limit(resource.RLIMIT_NPROC, 0),
        "no descriptors": lambda: _limit(resource.RLIMIT_NOFILE, 0),
    }
    return [name for name, measure in measures.items() if not _is_taken(measure)]


def close_all_but(descriptor: int) -> None:
    """Close whatever file this process has inherited, except one."""
    sys.stdin = sys.stdout = sys.stderr = None
    os.closerange(0, descriptor)
    os.closerange(descriptor + 1, descriptor + 4096)


def die_with_parent(parent: int) -> None:
    """End with the thread that started this process.

    Raises OSError or AttributeError where the system knows no such thing.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


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

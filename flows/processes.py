"""Processes of this machine: their name, which ones are alive, how they end, and their memory."""

from __future__ import annotations

import ctypes
import gc
import os
import socket
import sys
from functools import cache
from pathlib import Path

from scripts.host import sandbox


@cache
def this_machine() -> str:
    """Return a name for everything that shares process ids: machine, boot, pid namespace.

    A name alone would not do: two containers may share it and not their processes.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        namespace = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116  a link to nowhere
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()}/{boot}/{namespace}"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not is_zombie(pid)


def parent_of(pid: int) -> int | None:
    """Return the parent of a process, None where that is not to be known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])


def command_of(pid: int) -> bytes:
    """Return the command line of a process, b"" where it is not to be known."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_zombie(pid: int) -> bool:
    """A killed process is there until its parent has asked for it, but does no more work."""
    return state_of(pid) == "Z"


def is_stopped(pid: int) -> bool:
    return state_of(pid) == "T"


def state_of(pid: int) -> str:
    """Return the letter that /proc has for what a process does, "" where it is not to be known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent has died. Linux only."""
    if sys.platform == "linux":
        sandbox.die_with_parent(parent)


def give_memory_back() -> None:
    """Give freed memory back to the system; the allocator of glibc would keep most of it."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

"""Limits, memory and disks of this machine, and of the container that this process is in."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flows.doctor.findings import Finding, graded, ok, size, warning

CGROUPS = Path("/sys/fs/cgroup")
# A web process has a descriptor for each caller, a worker some for each script host.
MANY_FILES = 4_096
FEW_FILES = 256
LITTLE_MEMORY = 256 * 1024**2
VERY_LITTLE_MEMORY = 64 * 1024**2
# Shares that are used, and bytes that are free.
FULL, VERY_FULL = 0.9, 0.98
LITTLE_DISK = 1024**3
VERY_LITTLE_DISK = 64 * 1024**2


def machine() -> Iterator[Finding]:
    yield open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    if free := free_memory():
        yield memory(*free)
    yield from container(own_cgroup())


def open_files(limit: int) -> Finding:
    if limit == resource.RLIM_INFINITY:
        return ok("open files", "A process may open any number of files.")
    seen = f"A process may open {limit:,} files."
    advice = "Raise it: LimitNOFILE= of the unit, or `ulimit -n`."
    return graded("open files", -limit, 1 - MANY_FILES, 1 - FEW_FILES, seen, advice)


def memory(free: int, total: int) -> Finding:
    seen = f"{size(free)} of {size(total)} are free."
    advice = "Run fewer workers here, or give the machine more memory."
    return graded("memory", -free, -LITTLE_MEMORY, -VERY_LITTLE_MEMORY, seen, advice)


def free_memory() -> tuple[int, int] | None:
    """Return how many bytes are available, and how many there are; None where that is unknown."""
    with suppress(OSError, ValueError, KeyError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        return found["MemAvailable"], found["MemTotal"]
    return None


def own_cgroup() -> Path | None:
    """Return the directory of this process's group (version 2); None where there is none."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return CGROUPS / line.removeprefix("0::").strip().lstrip("/")
    return None


def container(group: Path | None) -> Iterator[Finding]:
    """Examine the limits of a control group."""
    limit, used = (_number(group, f"memory.{name}") for name in ("max", "current"))
    if limit and used is not None:
        seen = f"The container uses {size(used)} of {size(limit)}."
        advice = "Raise its memory limit, or run fewer workers in it."
        yield graded("container memory", used / limit, FULL, VERY_FULL, seen, advice)
    if killed := _event(group, "oom_kill"):
        yield warning(
            "container kills",
            f"The kernel has killed {killed} processes of this container for want of memory.",
            "Raise its memory limit, or lower the memory limits of scripts.",
        )
    limit, used = (_number(group, f"pids.{name}") for name in ("max", "current"))
    if limit and used is not None:
        seen = f"The container has {used:,} of {limit:,} processes and threads."
        advice = "Raise its limit of pids: each worker has script hosts and threads."
        yield graded("container processes", used / limit, FULL, VERY_FULL, seen, advice)


def _number(group: Path | None, name: str) -> int | None:
    """Return what a file of the group has; None where it is missing, or says `max`."""
    with suppress(OSError, ValueError):
        return int((group / name).read_text()) if group else None
    return None


def _event(group: Path | None, name: str) -> int:
    with suppress(OSError, ValueError, KeyError):
        lines = (group / "memory.events").read_text().splitlines() if group else []
        return int(dict(line.split() for line in lines)[name])
    return 0


def disk(name: str, directory: Path) -> Finding:
    """Examine the room on the disk that a directory is on."""
    usage = shutil.disk_usage(directory)
    seen = f"{size(usage.free)} of {size(usage.total)} are free at {directory}."
    advice = "Make room: a full disk stops all writing. Shorter retention of runs frees some."
    return graded(name, -usage.free, -LITTLE_DISK, -VERY_LITTLE_DISK, seen, advice)

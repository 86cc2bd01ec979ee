"""The number of cores that this process may use. The machine may have more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")

# Reads the limit of a group, in cores. Raises OSError or ValueError if it has none.
Reader = Callable[[Path], float]


def allowed_cores() -> int:
    """Return the cores that affinity and control groups allow, rounded up."""
    quotas = quota_of_group(CGROUPS, MEMBERSHIP)
    return max(1, min([cores_by_affinity(), *(ceil(quota) for quota in quotas)]))


def cores_by_affinity() -> int:
    # macOS has no affinity.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota_of_group(mounted: Path, membership: Path) -> Iterator[float]:
    """Yield the limits, in cores, of the process's control groups and of their parents.

    In a container its own group may be mounted as the root, although its membership has a path.
    """
    with suppress(OSError):
        for line in membership.read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" and not controllers:
                yield from quotas(mounted, path, of_version_2)
            elif "cpu" in controllers.split(","):
                for name in (controllers, "cpu"):
                    yield from quotas(mounted / name, path, of_version_1)


def quotas(mounted: Path, path: str, read: Reader) -> Iterator[float]:
    group = mounted / path.lstrip("/")
    for each in (group, *group.parents):
        if each.is_relative_to(mounted):
            with suppress(OSError, ValueError):
                yield read(each)


def of_version_2(group: Path) -> float:
    quota, period = (group / "cpu.max").read_text().split()
    return float(int(quota) / int(period))


def of_version_1(group: Path) -> float:
    quota = int((group / "cpu.cfs_quota_us").read_text())
    period = int((group / "cpu.cfs_period_us").read_text())
    if quota <= 0:
        raise ValueError("no limit")
    return quota / period

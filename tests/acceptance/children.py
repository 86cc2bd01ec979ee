from __future__ import annotations

from collections.abc import Iterable
from math import inf
from pathlib import Path

import psutil


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.Error:
        return []


def by_age(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return processes in the order of their start: their ids begin again at the highest one."""

    def age(process: psutil.Process) -> tuple[float, int]:
        try:
            return process.create_time(), process.pid
        except psutil.Error:
            return inf, process.pid

    return sorted(processes, key=age)


def pages_of(process: psutil.Process) -> set[str]:
    """Return the pages of memory that a worker shares with its script hosts, by their numbers."""
    try:
        lines = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    except OSError:
        return set()
    return {line.split()[4] for line in lines if "memfd:script-host" in line}

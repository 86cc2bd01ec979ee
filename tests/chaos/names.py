"""Gives the processes of a cluster names, so that a test can tell them apart."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from flows.worker import cluster

PR_SET_NAME = 15


def give() -> None:
    """Name the children of a sentinel for what they run, and the sentinel itself."""
    child, sentinel = cluster.child, cluster.CrashSafeSentinel.__init__

    def named_child(target: Callable[..., None], *args: Any) -> None:
        set_name(target.__name__)
        child(target, *args)

    def named_sentinel(self: cluster.CrashSafeSentinel, *args: Any) -> None:
        set_name("sentinel")
        sentinel(self, *args)

    cluster.child = named_child
    setattr(cluster.CrashSafeSentinel, "__init__", named_sentinel)  # noqa: B010  mypy forbids the other


def set_name(name: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode())

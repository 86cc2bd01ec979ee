"""The memory of processes. Linux only; elsewhere it is 0."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def peak_rss_mb(pids: Iterable[int]) -> float:
    """Return the sum of the processes' peaks. Memory that they share counts for each of them."""
    return round(sum(kb_of(Path(f"/proc/{pid}/status"), "VmHWM") for pid in pids) / 1024, 1)


def kb_of(path: Path, name: str) -> int:
    """Return a value of a file of /proc in KB; 0 where process or value are not there."""
    try:
        text = path.read_text()
    except OSError:
        return 0
    return value_in(text, name)


def value_in(text: str, name: str) -> int:
    lines = (line.split() for line in text.splitlines())
    return next((int(words[1]) for words in lines if words[:1] == [f"{name}:"]), 0)

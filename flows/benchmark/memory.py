"""The memory of processes. Linux only; elsewhere it is 0.

PSS shares what processes have in common among them, so a sum of it is what they take together. The
sum of RSS counts it for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Event, Thread
from typing import Self

SAMPLE_SECONDS = 0.5
# Finds the processes of a part when they are looked at.
Processes = Callable[[], Iterable[int]]


class PeakPss:
    """Samples the PSS of processes, by their part in the installation, while the block runs."""

    def __init__(self, parts: Mapping[str, Processes]) -> None:
        self._parts = parts
        self.every = SAMPLE_SECONDS
        self._peak: dict[str, int] = {}
        self._ended = Event()
        self._thread = Thread(target=self._sample, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def mb(self) -> float:
        """Return the peak of the sum."""
        return in_mb(sum(self._peak.values()))

    def mb_by_part(self) -> dict[str, float]:
        """Return what each part had at the peak of the sum."""
        return {name: in_mb(kb) for name, kb in self._peak.items()}

    def _sample(self) -> None:
        while True:
            now = {name: sum(map(pss_kb, pids())) for name, pids in self._parts.items()}
            if sum(now.values()) > sum(self._peak.values()):
                self._peak = now
            if self._ended.wait(self.every):
                return


def pss_kb(pid: int) -> int:
    """Return the PSS, and the RSS of a process whose memory this user may not look at."""
    path = Path(f"/proc/{pid}")
    return kb_of(path / "smaps_rollup", "Pss") or kb_of(path / "status", "VmRSS")


def peak_rss_mb(pids: Iterable[int]) -> float:
    """Return the sum of the processes' own peaks."""
    return in_mb(sum(kb_of(Path(f"/proc/{pid}/status"), "VmHWM") for pid in pids))


def kb_of(path: Path, name: str) -> int:
    """Return a value of a file of /proc in KB; 0 where process or value are not there."""
    try:
        return value_in(path.read_text(), name)
    except OSError:
        return 0


def value_in(text: str, name: str) -> int:
    lines = (line.split() for line in text.splitlines())
    return next((int(words[1]) for words in lines if words[:1] == [f"{name}:"]), 0)


def in_mb(kb: int) -> float:
    return round(kb / 1024, 1)

"""The names under which metrics are summed up in the blocks that are never ended."""

from __future__ import annotations

# Between the name and its labels: no label has it.
SEPARATOR = ":"

CLAIMS = "claims"
DELIVERIES = "deliveries"
DURATIONS = "seconds"
LOST_LEASES = "lost-leases"
RESTARTS = "host-restarts"


def named(name: str, *labels: str) -> str:
    return SEPARATOR.join([name, *labels])


def labels_of(key: str) -> tuple[str, list[str]]:
    """Return the name and the labels of what `named` has made."""
    name, *labels = key.split(SEPARATOR)
    return name, labels

"""Histograms of durations: how many fell between two bounds that do not depend on the data.

So those of several workers, minutes and flows add up. Each bound is the square root of 2 times the
one before, from a tenth of a millisecond to two days. What a histogram says is right to some 20
percent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from itertools import repeat

import orjson

LEAST_SECONDS = 0.0001
BUCKETS = 62
# The upper bounds in seconds. What is longer than the last is in a bucket of its own.
BOUNDS = tuple(LEAST_SECONDS * 2 ** (number / 2) for number in range(BUCKETS))

# By the number of the bucket.
Histogram = Counter[int]


def bucket_of(seconds: float) -> int:
    """Return the bucket; what took less than nothing, by clocks that were set, took nothing."""
    return bisect_left(BOUNDS, seconds)


def of_seconds(durations: Iterable[float]) -> Histogram:
    """Return the histogram of these; by the thousand much faster than bucket by bucket."""
    return Counter(map(bisect_left, repeat(BOUNDS), durations))


def written(histogram: Histogram) -> str:
    return orjson.dumps(
        {str(bucket): count for bucket, count in sorted(histogram.items())}
    ).decode()


def read(text: str) -> Histogram:
    return Histogram({int(bucket): count for bucket, count in orjson.loads(text).items()})


def merged(histograms: Iterable[Histogram]) -> Histogram:
    total: Histogram = Histogram()
    for each in histograms:
        total += each
    return total


def quantile(histogram: Histogram, share: float) -> float | None:
    """Return the seconds that this share of the durations did not exceed; None without any.

    Within a bucket they are taken to be spread evenly.
    """
    wanted = histogram.total() * share
    passed = 0
    for bucket, count in sorted(histogram.items()):
        if passed + count >= wanted and count:
            low, high = bounds_of(bucket)
            return low + (high - low) * (wanted - passed) / count
        passed += count
    return None


def bounds_of(bucket: int) -> tuple[float, float]:
    low = BOUNDS[bucket - 1] if bucket else 0.0
    return low, BOUNDS[bucket] if bucket < BUCKETS else low

"""Histograms of durations add up, and their quantiles are near the true ones."""

from hypothesis import given
from hypothesis import strategies as st

from flows.monitoring.histogram import (
    BOUNDS,
    BUCKETS,
    Histogram,
    bounds_of,
    bucket_of,
    merged,
    quantile,
    read,
    written,
)

DURATIONS = st.lists(st.floats(0, BOUNDS[-1]), min_size=1, max_size=50)


def histogram_of(durations: list[float]) -> Histogram:
    return Histogram(map(bucket_of, durations))


@given(st.floats(0, 10**7))
def test_a_duration_is_within_the_bounds_of_its_bucket(seconds: float) -> None:
    low, high = bounds_of(bucket_of(seconds))

    assert low <= seconds
    assert seconds <= high or bucket_of(seconds) == BUCKETS


@given(DURATIONS, DURATIONS)
def test_histograms_add_up_and_survive_being_written(one: list[float], other: list[float]) -> None:
    both = merged([histogram_of(one), histogram_of(other)])

    assert both == histogram_of(one + other)
    assert read(written(both)) == both


@given(DURATIONS, st.floats(0.01, 1))
def test_a_quantile_is_in_the_bucket_of_the_true_one(durations: list[float], share: float) -> None:
    found = quantile(histogram_of(durations), share)

    ordered = sorted(durations)
    true = next(d for n, d in enumerate(ordered, 1) if n >= len(ordered) * share)
    low, high = bounds_of(bucket_of(true))
    assert found is not None
    assert low <= found <= high


def test_nothing_has_no_quantile_and_clocks_that_were_set_make_no_time_negative() -> None:
    assert quantile(Histogram(), 0.5) is None
    assert bucket_of(-3.0) == 0

import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.store.rate_limit import GRID, RateLimit, shifted


def limit(count: int, seconds: float) -> RateLimit:
    return RateLimit.read(count, timedelta(seconds=seconds), "")


def test_no_window_ever_has_more_starts_than_allowed():
    rate, rng, epoch, starts = limit(10, 1.0), random.Random(7), 0.0, []
    for _ in range(2000):
        epoch += rng.uniform(0, 0.05)
        taken = min(rate.allowance(epoch), rng.randint(0, 4))
        latest = epoch + 0.04
        rate.add(latest, taken)
        starts += [rng.uniform(epoch, latest) for _ in range(taken)]

    starts.sort()
    assert len(starts) > 400
    assert all(later - first > 1.0 for first, later in zip(starts, starts[10:], strict=False))


def test_what_is_allowed_comes_back_when_the_period_is_over():
    rate = limit(3, 2.0)
    rate.add(10.0, 3)

    assert rate.allowance(11.9) == 0
    assert rate.free_at(11.9) == 12.0
    assert rate.allowance(12.01) == 3
    assert rate.free_at(12.01) == 12.01


def test_a_start_counts_from_when_it_happened_once_that_is_known():
    rate = limit(3, 2.0)
    rate.add(10.5, 3)

    rate.correct(10.5, 10.1)
    rate.correct(10.5, 10.1)
    rate.correct(10.5, None)

    assert rate.allowance(12.0) == 1
    assert rate.allowance(12.11) == 3


def test_what_is_corrected_stays_a_short_list():
    rate = limit(10_000, 1.0)
    rate.add(10.0, 10_000)

    for start in range(10_000):
        rate.correct(10.0, 9.0 + start / 10_000)

    assert rate.allowance(9.5) == 0
    assert len(rate.starts) <= 501


def test_starts_survive_being_written_and_read():
    rate = limit(5, 1.0)
    rate.add(1.0, 2)

    again = RateLimit.read(5, 1_000_000, rate.write())

    assert again.allowance(1.5) == 3


# A claim: after how many periods, how much of one its starts may take, how many it takes at most,
# and whether the column is written and read before.
CLAIMS = st.lists(
    st.tuples(st.floats(0, 0.5), st.floats(0, 0.2), st.integers(0, 5), st.booleans()),
    max_size=60,
)


@given(
    count=st.integers(1, 8),
    period=st.sampled_from([0.1, 1.0, 7.3, 60.0, 3600.0]),
    begins=st.floats(0, 2e9),
    claims=CLAIMS,
    seed=st.integers(0, 2**32),
)
def test_no_window_has_more_whatever_is_claimed_corrected_and_written(
    count, period, begins, claims, seed
):
    rate, epoch, happened, rng = limit(count, period), begins, [], random.Random(seed)
    open_claims: list[tuple[float, float]] = []
    for later, share, most, written in claims:
        epoch += later * period
        taken = min(rate.allowance(epoch), most)
        latest = epoch + share * period
        rate.add(latest, taken)
        starts = [rng.uniform(epoch, latest) for _ in range(taken)]
        happened += starts
        open_claims += [(latest, start) for start in starts]
        if written:
            rate = RateLimit.read(count, timedelta(seconds=period), rate.write())
        while open_claims and rng.random() < 0.5:
            rate.correct(*open_claims.pop())

    happened.sort()
    spans = [b - a for a, b in zip(happened, happened[count:], strict=False)]
    assert all(span >= period * (1 - 1e-9) for span in spans)


@pytest.mark.parametrize("period", [1.0, 3600.0])
def test_the_column_is_bounded_however_many_starts_it_counts(period):
    rate, epoch, longest = limit(100_000, period), 1_764_315_123.456789, 0
    for n in range(20 * GRID):
        epoch += period / GRID / 7
        rate.allowance(epoch)
        rate.add(epoch + 0.05, 3)
        rate.correct(epoch + 0.05, epoch + 0.01)
        if n % 16 == 0:
            longest = max(longest, len(rate.write()))
            rate = RateLimit.read(100_000, timedelta(seconds=period), rate.write())

    rate = RateLimit.read(100_000, timedelta(seconds=period), rate.write())
    assert len(rate.starts) <= GRID + 0.05 / period * GRID + 2
    assert longest < 10 * GRID


def test_starts_are_the_same_after_any_number_of_writings():
    rate = limit(1000, 3600.0)
    for n in range(100):
        rate.add(1_764_315_123.456789 + n * 12.3)
    written = rate.write()

    for _ in range(10):
        rate = RateLimit.read(1000, timedelta(seconds=3600), rate.write())

    assert rate.write() == written


def test_starts_count_at_least_as_long_when_the_period_is_changed():
    rate = limit(5, 60.0)
    rate.add(1000.001, 5)

    longer = RateLimit.read(5, timedelta(seconds=3600), rate.write())

    assert min(longer.starts) >= 1000.001
    assert longer.allowance(4599.0) == 0
    assert RateLimit.read(5, timedelta(seconds=3600), longer.write()).allowance(4600.0) == 0


def test_a_start_that_was_reserved_among_a_few_is_corrected_among_many():
    rate = limit(1000, 60.0)
    rate.add(1000.001, 2)
    for n in range(100):
        rate.add(1001.0 + n / 3)
    rate = RateLimit.read(1000, timedelta(seconds=60), rate.write())

    rate.correct(1000.001, None)

    assert rate.allowance(1034.0) == 1000 - 101


@pytest.mark.parametrize("starts", [3, 300])
def test_starts_are_shifted_however_many_there_are(starts):
    rate = limit(1000, 3600.0)
    for n in range(starts):
        rate.add(7.2 * n)

    later = RateLimit.read(1000, timedelta(seconds=3600), shifted(rate.write(), 50_000.0))

    assert sum(later.starts.values()) == starts
    assert min(later.starts) == min(rate.starts) + 50_000.0

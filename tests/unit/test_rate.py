import random
from datetime import timedelta

from flows.rate import RateLimit


def limit(count: int, seconds: float) -> RateLimit:
    return RateLimit.read(count, timedelta(seconds=seconds), "")


def test_no_window_ever_has_more_starts_than_allowed():
    rate, rng, now, starts = limit(10, 1.0), random.Random(7), 0.0, []
    for _ in range(2000):
        now += rng.uniform(0, 0.05)
        taken = min(rate.allowance(now), rng.randint(0, 4))
        latest = now + 0.04
        rate.add(latest, taken)
        starts += [rng.uniform(now, latest) for _ in range(taken)]

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

import random
from datetime import timedelta

from flows.models.backoff import Backoff

PLAIN = Backoff(timedelta(seconds=1), 2.0, timedelta(seconds=300), 0.0)


def test_the_wait_doubles_with_every_delivery():
    waits = [PLAIN.delay(deliveries).total_seconds() for deliveries in (1, 2, 3, 4)]

    assert waits == [1, 2, 4, 8]


def test_the_wait_is_capped_for_any_number_of_deliveries():
    assert PLAIN.delay(20) == timedelta(seconds=300)
    assert PLAIN.delay(1_000_000) == timedelta(seconds=300)


def test_jitter_spreads_the_wait_on_both_sides_within_its_share():
    backoff = Backoff(timedelta(seconds=10), 1.0, timedelta(seconds=60), 0.2)
    rng = random.Random(1)

    waits = [backoff.delay(1, rng).total_seconds() for _ in range(1000)]

    assert 8 <= min(waits) < 8.2
    assert 11.8 < max(waits) <= 12
    assert len(set(waits)) > 900


def test_jitter_never_exceeds_the_cap():
    backoff = Backoff(timedelta(seconds=10), 2.0, timedelta(seconds=10), 1.0)

    assert max(backoff.delay(5) for _ in range(200)) <= timedelta(seconds=10)


def test_a_multiplier_of_any_size_ends_at_the_cap():
    backoff = Backoff(timedelta(seconds=1), 1e300, timedelta(seconds=60), 0.0)

    assert backoff.delay(1000) == timedelta(seconds=60)


def test_no_initial_wait_means_none_at_all():
    backoff = Backoff(timedelta(0), 1e300, timedelta(seconds=60), 0.5)

    assert backoff.delay(1000) == timedelta(0)

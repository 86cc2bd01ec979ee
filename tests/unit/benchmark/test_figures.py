"""Medians, percentiles and shares of measurements."""

import pytest

from flows.benchmark.figures import percentile, percentiles, share
from flows.benchmark.workloads import held, http, limit


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [
        ([3.0], 0.99, 3.0),
        ([3.0, 1.0, 2.0], 0.5, 1.0),
        (list(range(1, 101)), 0.95, 95),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 101)), 1.0, 100),
    ],
)
def test_a_percentile_is_one_of_the_values(values, part, expected):
    assert percentile(values, part) == expected


def test_latencies_are_told_by_their_median_and_95th_percentile():
    assert percentiles([*range(1, 101)]) == {"p50": 50.5, "p95": 95}


def test_a_share_of_nothing_is_nothing():
    assert share(1, 3) == 0.333
    assert share(1, 0) == 0.0


def test_ratios_are_taken_in_each_round_and_figures_are_medians():
    def result(starts: float, p50: float) -> http.Result:
        return {"perSecond": starts, "p50Ms": p50, "p99Ms": 10 * p50}

    rounds = [
        (result(1000, 1), result(500, 3)),
        (result(2000, 2), result(1600, 2)),
        (result(100, 20), result(100, 10)),
    ]

    figures = http.beside(rounds)

    assert figures["startsPerSecond"] == 500
    assert figures["shareOfBare"] == 0.8
    assert figures["timesOfBareP50"] == 1.0
    assert figures["p99Ms"] == 30
    assert figures["bare"] == {"startsPerSecond": 1000, "p50Ms": 2, "p99Ms": 20}


def test_the_share_of_the_limit_is_that_of_each_round():
    figures = limit.beside(raw=[100, 200, 1000], ours=[50, 20, 900])

    assert figures == {"stepsPerSecond": 50, "rawStepsPerSecond": 200, "shareOfRaw": 0.5}


def test_a_rate_is_that_between_the_samples_nearest_to_its_ends():
    samples = [(0.1, 0), (1.1, 100), (2.0, 400), (3.1, 500)]

    assert held.rate(samples, 0, 1) == pytest.approx(100)
    assert held.rate(samples, 2, 3) == pytest.approx(100 / 1.1)
    assert held.rate(samples, 5, 9) == 0.0

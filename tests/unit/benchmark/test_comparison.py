"""Figures beside those of an earlier run."""

import pytest

from flows.benchmark.comparison import as_document, changes, direction, earlier_of, outputs_in
from flows.benchmark.table import as_table

EARLIER = {
    "workload": "http",
    "database": "sqlite",
    "runs": 10,
    "startsPerSecond": 100,
    "latencyMs": {"p50": 10.0, "p95": 20.0},
    "peakPssMb": None,
    "noise": {"stealPercent": 0.1},
}
NOW = EARLIER | {"startsPerSecond": 150, "latencyMs": {"p50": 15.0, "p95": 20.4}, "peakPssMb": 9.0}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stepsPerSecond", 1),
        ("connections16.shareOfBare", 1),
        ("connections16.timesOfBareP50", -1),
        ("latencyMs.p50", -1),
        ("peakPssMb", -1),
        ("parts.webPercent", -1),
        ("idealPerSecond", 0),
        ("rawStepsPerSecond", 0),
        ("connections1.bare.p50Ms", 0),
        ("noise.stealPercent", 0),
        ("runs", 0),
    ],
)
def test_the_name_of_a_figure_says_whether_more_is_better(name, expected):
    assert direction(name) == expected


def test_a_figure_is_better_worse_or_the_same_as_earlier():
    found = {change.figure: change.word for change in changes(NOW, EARLIER)}

    assert found == {
        "startsPerSecond": "better",
        "latencyMs.p50": "worse",
        "latencyMs.p95": "same",
    }


def test_a_comparison_in_json_has_the_earlier_figure_and_the_ratio():
    document = as_document(changes(NOW, EARLIER))

    assert document["startsPerSecond"] == {"earlier": 100, "times": 1.5, "word": "better"}


def test_a_figure_that_was_0_has_no_ratio():
    [change] = changes({"stepsPerSecond": 5}, {"stepsPerSecond": 0})

    assert change.times is None


def test_the_earlier_figures_are_those_of_the_same_workload_and_database():
    other = EARLIER | {"database": "postgresql"}

    assert earlier_of([other, EARLIER], NOW) == EARLIER
    assert earlier_of(outputs_in(EARLIER), NOW) == EARLIER
    assert earlier_of([other], NOW) is None


@pytest.mark.parametrize("document", [1, {}, [{}], "figures"])
def test_another_document_is_no_figures(document):
    with pytest.raises(ValueError, match="no figures"):
        outputs_in(document)


def test_a_table_has_a_line_a_figure_with_the_earlier_one_beside_it():
    lines = as_table(NOW, changes(NOW, EARLIER)).splitlines()

    assert lines[3].split() == [
        "startsPerSecond",
        "150",
        "earlier",
        "100",
        "times",
        "1.50",
        "better",
    ]
    assert lines[4].split()[0] == "latencyMs.p50"
    assert lines[6].split() == ["peakPssMb", "9.0"]

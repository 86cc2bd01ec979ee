"""Changes of the totals of flows add up."""

from hypothesis import given
from hypothesis import strategies as st

from flows.store.totals import Totals, add_totals, totals_by_flow

NUMBERS = st.integers(-(10**12), 10**12)
TOTALS = st.builds(Totals, NUMBERS, NUMBERS, NUMBERS, NUMBERS)


@given(TOTALS, TOTALS)
def test_what_was_added_can_be_subtracted_again(one: Totals, other: Totals) -> None:
    assert one + other - other == one


@given(TOTALS, TOTALS)
def test_each_count_is_added_to_its_own(one: Totals, other: Totals) -> None:
    added = one + other

    assert added.accepted == one.accepted + other.accepted
    assert added.completed == one.completed + other.completed
    assert added.failed == one.failed + other.failed
    assert added.cancelled == one.cancelled + other.cancelled


def test_a_flow_that_is_changed_first_begins_at_nothing() -> None:
    totals = totals_by_flow()

    totals["a"].completed += 1
    totals["b"] -= Totals(accepted=1, failed=1)
    add_totals(totals, {"a": Totals(completed=2), "c": Totals(cancelled=1)})

    assert totals == {
        "a": Totals(completed=3),
        "b": Totals(accepted=-1, failed=-1),
        "c": Totals(cancelled=1),
    }


def test_totals_without_a_change_are_seen_as_such() -> None:
    assert not any(Totals())
    assert any(Totals(cancelled=-1))

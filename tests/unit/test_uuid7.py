"""The range of UUIDv7 that a range of time is."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from flows.models.uuid7 import first_uuid7

MILLISECOND = timedelta(milliseconds=1)
times = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))


def test_an_id_of_now_lies_between_the_first_ids_around_it():
    before = datetime.now(UTC)

    id = UUID(str(uuid7()))

    assert first_uuid7(before) <= id < first_uuid7(datetime.now(UTC), MILLISECOND)


@given(times, times)
def test_the_order_of_times_is_the_order_of_ids(earlier, later):
    earlier, later = sorted((earlier, later))

    assert first_uuid7(earlier) <= first_uuid7(later)


@pytest.mark.parametrize(
    ("at", "later"),
    [
        (datetime.min.replace(tzinfo=UTC), timedelta(days=-1)),
        (datetime.max.replace(tzinfo=UTC), timedelta(days=1)),
    ],
)
def test_times_outside_of_the_years_of_a_datetime_have_an_id(at, later):
    assert 0 <= first_uuid7(at, later).int < 1 << 128

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from flows.store.database import read_time, sql_time, sql_time_of_epoch

# To the end of the year 9998.
EPOCHS = st.floats(0, 253_370_764_800, allow_nan=False)


@given(EPOCHS)
def test_a_time_is_written_alike_as_epoch_and_as_datetime(epoch: float) -> None:
    written = sql_time_of_epoch(epoch)

    at = datetime.fromtimestamp(epoch, UTC)
    read = read_time(written)
    # Where the two round in different ways, a microsecond lies between.
    assert abs(read - at) <= timedelta(microseconds=1)
    assert sql_time(read) == written


@given(EPOCHS, EPOCHS)
def test_written_times_sort_as_the_times_do(one: float, other: float) -> None:
    earlier, later = sorted((one, other))

    assert sql_time_of_epoch(earlier) <= sql_time_of_epoch(later)

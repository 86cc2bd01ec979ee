from __future__ import annotations

import pytest

from flows.errors import OptionInvalid
from flows.options import read_time


@pytest.mark.parametrize("zone", ["Z", "z", "+00:00", " 00:00", "+0000", "-0000"])
def test_zone_of_a_time_may_be_written_in_several_ways(zone):
    assert read_time(f"2026-11-02T09:30:00{zone}").isoformat() == "2026-11-02T09:30:00+00:00"


@pytest.mark.parametrize("zone", ["", "+00", "00:00", "+0:00", "+000", "+00000", "+24:00", "CET"])
def test_time_without_a_zone_or_with_a_wrong_one_is_refused(zone):
    with pytest.raises(OptionInvalid):
        read_time(f"2026-11-02T09:30:00{zone}")

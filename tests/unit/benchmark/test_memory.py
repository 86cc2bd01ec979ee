"""What processes take together, from the files of /proc."""

import os

from flows.benchmark.memory import PeakPss, kb_of, peak_rss_mb, pss_kb, value_in
from tests.waiting import wait_for

ROLLUP = "55-7f ---p 0 00:00 0 [rollup]\nRss:   4096 kB\nPss:    2048 kB\nPss_Dirty: 1 kB\n"


def test_a_value_is_found_by_its_whole_name():
    assert value_in(ROLLUP, "Pss") == 2048
    assert value_in(ROLLUP, "Swap") == 0


def test_a_process_that_has_ended_takes_nothing(tmp_path):
    assert kb_of(tmp_path / "status", "VmHWM") == 0


def test_the_share_of_a_process_is_at_most_what_it_has():
    me = [os.getpid()]

    assert 0 < pss_kb(os.getpid()) / 1024 <= peak_rss_mb(me) + 1
    assert peak_rss_mb([]) == 0


def test_the_peak_is_that_of_the_sum_and_has_the_parts_at_that_time(monkeypatch):
    sizes = {1: 10_240, 2: 20_480}
    monkeypatch.setattr("flows.benchmark.memory.SAMPLE_SECONDS", 0.001)
    monkeypatch.setattr("flows.benchmark.memory.pss_kb", lambda pid: sizes[pid])

    with PeakPss({"webMb": lambda: [1], "clusterMb": lambda: [2]}) as peak:
        wait_for(lambda: peak.mb() == 30.0)
        sizes[1], sizes[2] = 1024, 40_960
        wait_for(lambda: peak.mb() == 41.0)
        sizes[1] = 0

    assert peak.mb() == 41.0
    assert peak.mb_by_part() == {"webMb": 1.0, "clusterMb": 40.0}

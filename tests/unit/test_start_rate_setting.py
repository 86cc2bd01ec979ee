"""The setting of the start rate of users."""

from __future__ import annotations

import pytest

from asyncengine.environment import env_rate


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        ("", None),
        ("100/s", (100, 1)),
        (" 600/m ", (600, 60)),
        ("9000/h", (9_000, 3_600)),
        ("1/d", (1, 86_400)),
    ],
)
def test_a_start_rate_is_a_number_in_a_time(
    monkeypatch: pytest.MonkeyPatch, written: str, rate: tuple[int, int] | None
):
    monkeypatch.setenv("ASYNCENGINE_START_RATE", written)

    assert env_rate("ASYNCENGINE_START_RATE") == rate


@pytest.mark.parametrize("written", ["100", "0/s", "-1/s", "1.5/s", "100/w", "s", "1/s/s"])
def test_what_is_no_start_rate_is_refused_by_the_name_of_the_setting(
    monkeypatch: pytest.MonkeyPatch, written: str
):
    monkeypatch.setenv("ASYNCENGINE_START_RATE", written)

    with pytest.raises(Exception, match="ASYNCENGINE_START_RATE"):
        env_rate("ASYNCENGINE_START_RATE")

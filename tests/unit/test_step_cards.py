"""What the card of a step says by the look of its code."""

import pytest

from flows.monitoring.step_cards import returns_list


@pytest.mark.parametrize(
    ("language", "code", "is_one"),
    [
        ("python", "def run(m, c):\n    return [m, m]\n", True),
        ("python", "def run(m, c):\n\treturn  list(m)\n", True),
        ("python", "def run(m, c):\n    return m\n", False),
        ("javascript", "setData([context.Data]);", True),
        ("javascript", "setData(context.Data.payload.map(f));", True),
        ("javascript", "setData(context.Data);", False),
        # Nor does it take minutes to see that.
        ("python", "\n" * 250_000, False),
        ("python", "\n return" * 30_000 + "\n" * 60_000, False),
        ("javascript", "setData(" * 30_000 + " " * 60_000, False),
    ],
    ids=range(9),
)
def test_code_that_gives_a_list_fans_out(language: str, code: str, is_one: bool):
    assert returns_list(language, code) == is_one

"""How many examples the tests with hypothesis try, where one takes long."""

import os

# `.ci/run` tries more: HYPOTHESIS_PROFILE=ci.
_TIMES = 8 if os.environ.get("HYPOTHESIS_PROFILE") == "ci" else 1


def examples(count: int) -> int:
    """Return how many to try where the default run tries `count`."""
    return count * _TIMES

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import is_postgresql
from tests.halves import KINDS, Half, running_halves
from tests.waiting import wait_for

# Seconds. They run beside all other tests, on a machine that may be slow.
LONGEST = 3600.0


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    if known := os.environ.get("ENGINE_TEST_HALVES"):
        yield Path(known)
        return
    with running_halves() as directory:
        yield directory


@pytest.mark.skipif(is_postgresql(), reason="the suite is on PostgreSQL already")
@pytest.mark.parametrize("kind", KINDS)
def test_the_tests_pass_on_postgresql_too(directory: Path, kind: str) -> None:
    half = Half(directory, kind)
    code = wait_for(lambda: half.code, LONGEST, f"the end of {kind} on PostgreSQL")

    for name, text in half.failures().items():
        print(f"\n{name}\n{text}")
    print(half.end())
    assert list(half.failures()) == []
    assert code == "0"

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.server import Server, SQLiteFile, restartable_postgresql


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    if request.param == "sqlite":
        yield SQLiteFile(f"sqlite:///{tmp_path}/chaos.sqlite3")
        return
    with restartable_postgresql() as server:
        yield server

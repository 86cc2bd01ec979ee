from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation, ended
from tests.databases import migrated_database


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with migrated_database(tmp_path) as url, ended(Installation(url, tmp_path)) as installation:
        yield installation

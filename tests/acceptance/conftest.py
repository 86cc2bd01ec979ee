from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation
from tests.databases import fresh_database


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with fresh_database(tmp_path) as url:
        installation = Installation(url, tmp_path)
        try:
            yield installation
        finally:
            installation.http.close()
            if installation.process is not None:
                installation.stop()

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import Installation, serving
from tests.clients.walk import CONFIGURATION


@pytest.fixture(scope="package")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for all clients, with flows that generators have trouble with."""
    with serving(tmp_path_factory.mktemp("clients"), CONFIGURATION) as installation:
        yield installation


@pytest.fixture(scope="package")
def document(installation: Installation) -> Any:
    return installation.http.get("/specifications/openapi.json").json()


@pytest.fixture(scope="package")
def document_file(document: Any, installation: Installation) -> Path:
    path = installation.directory / "openapi.json"
    path.write_bytes(installation.http.get("/specifications/openapi.json").content)
    return path

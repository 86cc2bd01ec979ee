from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation, installation_in

# Each program lives for seconds: what the second compiler and parallel collectors of Java do pays
# only later. The same tests take a third of the processor time.
SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@pytest.fixture(autouse=True, scope="session")
def programs_of_java_start_fast() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAVA_TOOL_OPTIONS", SHORT_LIVED)
        yield


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with installation_in(tmp_path) as installation:
        yield installation

"""The suite once more, on a real PostgreSQL."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.databases import is_postgresql, postgresql_server

TESTS = Path(__file__).parent


@pytest.mark.skipif(is_postgresql(), reason="the suite is on PostgreSQL already")
def test_the_whole_suite_passes_on_postgresql(capfd):
    with postgresql_server() as url, capfd.disabled():
        finished = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
            + [str(TESTS / kind) for kind in ("integration", "acceptance")],
            env=os.environ | {"DATABASE_URL": url},
            cwd=TESTS.parent,
        )

    assert finished.returncode == 0

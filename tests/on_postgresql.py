"""Runs pytest on a PostgreSQL of its own.

`python -m tests.on_postgresql tests/integration/test_engine.py` takes what pytest takes.

--rest    in place of paths: what the default run leaves to SQLite
--wheel   the server from the wheel, even where this machine has one on its path
"""

import os
import subprocess
import sys

from tests.halves import LESS_DEPENDENT, TESTS, server

REST = [str(path) for path in (TESTS / "acceptance", *LESS_DEPENDENT)]


def main(arguments: list[str]) -> int:
    from_wheel = "--wheel" in arguments
    paths = REST if "--rest" in arguments else []
    options = [each for each in arguments if each not in ("--rest", "--wheel")]
    with server(from_wheel) as url:
        return subprocess.run(
            [sys.executable, "-m", "pytest", *options, *paths],
            env=os.environ | {"DATABASE_URL": url},
            cwd=TESTS.parent,
        ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

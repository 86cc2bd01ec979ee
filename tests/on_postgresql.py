"""Runs pytest on a PostgreSQL of its own.

`python -m tests.on_postgresql tests/integration/test_engine.py` takes what pytest takes.

--rest    in place of paths: what the default run leaves to SQLite, of the pages a selection, and
          the long tests of what it runs on both
--wheel   the server from the wheel, even where this machine has one on its path
"""

import os
import subprocess
import sys

from tests.halves import TESTS, server

INTEGRATION = TESTS / "integration"
PAGES = INTEGRATION / "admin"
# Pages that filter, search, count or lock, and those that meet what a database refuses.
PAGES_BY_DATABASE = (
    *("atomic_requests", "audit_log", "bounds", "conflicts", "dead_letters", "deleted_flows"),
    *("home", "malformed", "pages", "queries_of_pages", "queues", "reprocessings"),
    *("run_search", "runs", "tasks"),
)
# No database changes these: codecs and addresses of requests, texts about settings and modules, and
# trials of scripts, which store nothing.
INDEPENDENT = {
    INTEGRATION / f"test_{name}.py"
    for name in ("callable_checks", "public_address", "script_command", "wsgi")
}
REST = [
    "-m",
    "not chaos and ((on_both and long) or not (on_both or long))",
    *map(
        str,
        (
            *(TESTS / "acceptance", INTEGRATION / "api", INTEGRATION / "kit"),
            *(path for path in sorted(INTEGRATION.glob("test_*.py")) if path not in INDEPENDENT),
            *(PAGES / f"test_{name}.py" for name in PAGES_BY_DATABASE),
        ),
    ),
]


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

"""The interpreters of this machine, and environments of theirs with the engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

TELL = "import sys; print('%d.%d.%d' % sys.version_info[:3])"
HIGHEST_MINOR = 30


@cache
def newest_python() -> tuple[str, Path] | None:
    """Return the newest Python that is newer than this: its version, such as 3.13, and its path.

    None where there is none on the path or among pyenv's.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for minor in range(HIGHEST_MINOR, sys.version_info.minor, -1):
        on_path = shutil.which(f"python3.{minor}")
        places = [*pyenv.glob(f"versions/3.{minor}.*/bin/python"), *filter(None, [on_path])]
        found = {version_of(Path(each)): Path(each) for each in places}
        if found and (newest := max(found))[:2] == (3, minor):
            return f"3.{minor}", found[newest]
    return None


def version_of(python: Path) -> tuple[int, int, int]:
    """Return what it says it is; zeros where it does not run, as a shim without its version."""
    told = subprocess.run([python, "-c", TELL], capture_output=True, text=True, check=False)
    if told.returncode:
        return 0, 0, 0
    major, minor, patch = map(int, told.stdout.split("."))
    return major, minor, patch


def environment(python: Path, directory: Path, *requirements: str) -> Path:
    """Make an environment with what pip resolves for this Python, and return its Python."""
    for command in (
        [python, "-m", "venv", directory],
        [
            *(directory / "bin" / "python", "-m", "pip", "install", "--quiet"),
            *("--disable-pip-version-check", *requirements),
        ],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return directory / "bin" / "python"

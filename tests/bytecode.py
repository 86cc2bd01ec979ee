"""The byte code of Python and of what is installed, for a directory that has the tests' own.

With a prefix Python looks nowhere else: it would compile anew what was compiled on installation.
"""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

# Directories of the standard library that have modules no test imports, or are asked for by name.
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3"}


def share_installed(prefix: Path) -> None:
    """Link in the prefix to the byte code that lies beside sources, unless that has been done."""
    paths = sysconfig.get_paths()
    for directory in {paths["stdlib"], paths["purelib"], paths["platlib"]}:
        if not _below(prefix, directory).exists():
            _link(directory, prefix)


def _link(directory: str, prefix: Path) -> None:
    for parent, directories, names in os.walk(directory):
        directories[:] = {*directories} - LEFT_OUT
        cache = Path(parent)
        if cache.name == "__pycache__":
            links = _below(prefix, cache.parent)
            links.mkdir(parents=True, exist_ok=True)
            for name in names:
                (links / name).symlink_to(cache / name)


def _below(prefix: Path, directory: str | Path) -> Path:
    """Return where Python has the byte code of a directory."""
    return prefix / Path(directory).relative_to("/")

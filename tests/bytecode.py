"""The byte code of the tests, and that of Python for a directory that has the tests' own.

With a prefix Python looks nowhere else: it would compile anew what was compiled on installation.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
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


def compile_all(modules: Sequence[str]) -> None:
    """Have each module compiled and kept, on all cores, as pytest does it: with its assertions.

    Processes that begin together would each compile all of them.
    """
    cores, context = os.cpu_count() or 1, multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_compile, args=(modules[core::cores],)) for core in range(cores)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def _compile(modules: Sequence[str]) -> None:
    """Import each module as far as its first import or call, which finds no builtins."""
    for name in modules:
        # What cannot be compiled is told where it is collected.
        with suppress(Exception):
            spec = importlib.util.find_spec(name)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            vars(module)["__builtins__"] = {}
            spec.loader.exec_module(module)

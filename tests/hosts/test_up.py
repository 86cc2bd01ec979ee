from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.up.children import web


@pytest.mark.parametrize("own", ["", "{}", "{}:/elsewhere"])
def test_the_web_server_finds_the_callers_modules_and_the_project(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: str
):
    (tmp_path / "modules_of_the_caller.py").touch()
    monkeypatch.setenv("PYTHONPATH", own.format(tmp_path))
    modules = "asyncengine" + (", modules_of_the_caller" if own else "")
    environment = web("127.0.0.1", 8000).environment

    finished = subprocess.run(
        [sys.executable, "-c", f"import {modules}"],
        env=os.environ | environment,
        cwd=tmp_path.parent,
        capture_output=True,
        text=True,
    )

    assert finished.returncode == 0, finished.stderr
    # An empty entry would be the directory that it runs in.
    assert "" not in environment["PYTHONPATH"].split(os.pathsep)

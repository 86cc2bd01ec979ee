from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asyncengine.environment import BASE_DIR as ROOT
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


def test_what_is_loaded_for_the_forks_leaves_out_what_others_need_alone():
    program = (
        "import sys; from flows.up.loading import load_all; load_all()\n"
        "more = {'markdown', 'pygments', 'requests', 'rich'}\n"
        "assert not more & set(sys.modules), more & set(sys.modules)\n"
        "import pygments, requests\n"
        "from flows.documentation import rendering\n"
    )

    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)

"""What the web server itself writes, and what it says where the settings are wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asyncengine import logs


def test_lines_of_the_server_itself_are_json_without_any_settings(tmp_path: Path):
    code = (
        "import json, logging, pathlib, sys\n"
        "from granian.log import LogLevels, configure_logging\n"
        "configure_logging(LogLevels.info, json.loads(pathlib.Path(sys.argv[1]).read_text()))\n"
        "logging.getLogger('_granian').error('lost\\na %s', 'worker')\n"
        "logging.getLogger('granian.access').info('%(path)s', {'path': '/'})\n"
    )
    config = Path(logs.__file__).parent / "deploy" / "granian.json"
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": str(config.parents[2])}

    done = subprocess.run(
        [sys.executable, "-c", code, config], env=bare, cwd=tmp_path, capture_output=True, text=True
    )

    lost, access = (json.loads(line) for line in done.stderr.splitlines())
    assert (lost["event"], lost["level"], lost["logger"]) == ("lost\na worker", "error", "_granian")
    assert access["event"] == "/"
    assert done.stdout == ""


@pytest.mark.long
@pytest.mark.parametrize("module", ["asyncengine.wsgi", "asyncengine.asgi"])
def test_server_whose_settings_are_wrong_says_so_in_a_line(module: str, tmp_path: Path):
    (tmp_path / "secrets_key").touch()
    environment = os.environ | {"ASYNCENGINE_DATA_DIR": str(tmp_path)}
    environment |= {"DJANGO_SETTINGS_MODULE": "asyncengine.settings"}

    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"], env=environment, capture_output=True, text=True
    )

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{tmp_path}/secrets_key is empty: ")

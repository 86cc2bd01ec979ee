"""A process of a project that lives on, as its web processes do, and runs the code it is sent."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from tests.acceptance.installation import ROOT, Installation
from tests.waiting import PATIENCE


class ProjectProcess:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._input, self._output = process.stdin, process.stdout

    def run(self, code: str) -> str:
        """Run code, as one of the project's views would, and return what it has printed."""
        self._input.write(json.dumps(code) + "\n")
        self._input.flush()
        assert select.select([self._output], [], [], 2 * PATIENCE)[0], f"no end of {code}"
        printed, error = json.loads(self._output.readline())
        assert not error, error
        return str(printed).strip()


@contextmanager
def project_process(installation: Installation) -> Iterator[ProjectProcess]:
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=ROOT,
        env=installation.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        # It ends with its input.
        yield ProjectProcess(process)


def main() -> None:
    import django
    from django.db import connections

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "asyncengine.settings")
    django.setup()
    for line in sys.stdin:
        printed, error = io.StringIO(), ""
        with contextlib.redirect_stdout(printed):
            try:
                exec(json.loads(line), {})
            except Exception:
                error = traceback.format_exc()
        connections.close_all()
        print(json.dumps([printed.getvalue(), error]), flush=True)


if __name__ == "__main__":
    main()

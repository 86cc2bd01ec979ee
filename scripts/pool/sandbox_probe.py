"""Whether scripts can be sandboxed on this machine, and whether they run if not."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

from django.conf import settings

import scripts
from scripts.host.sandbox import is_closed, missing_here

logger = logging.getLogger(__name__)

_PROBE = (
    "import sys; sys.path.append(sys.argv[1])"
    "; from scripts.host.sandbox import report_missing; report_missing()"
)
_PROBE_SECONDS = 20
# A machine may have no process to spare for a moment: the next try comes after this.
_AGAIN_SECONDS = 5.0
_NO_PROBE = "a process that can enter its sandbox"


def missing_measures() -> list[str]:
    """Name the measures of the sandbox that this machine lacks. A process tries each, once."""
    return missing_here() or _probe.read()


def scripts_may_run() -> bool:
    """Whether scripts run here: the sandbox is complete, or ASYNCENGINE_UNSEALED_SCRIPTS is set."""
    return bool(settings.ASYNCENGINE_UNSEALED_SCRIPTS) or is_closed(missing_measures())


class _Probe:
    """The result of a process that tried every measure."""

    def __init__(self) -> None:
        self.missing: list[str] | None = None
        self.again_at = 0.0

    def read(self) -> list[str]:
        if self.missing is None and time.monotonic() >= self.again_at:
            self.missing = _try_all()
            self.again_at = time.monotonic() + _AGAIN_SECONDS
        return [_NO_PROBE] if self.missing is None else self.missing


_probe = _Probe()


def _try_all() -> list[str] | None:
    """Return what is missing, None where no process could be started to try."""
    where = str(Path(scripts.__file__ or "").parents[1])
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", _PROBE, where],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=True,
        )
        return list(json.loads(done.stdout))
    except (OSError, ValueError, subprocess.SubprocessError):
        logger.exception("the sandbox of scripts could not be tried here")
        return None

"""Whether scripts can be sealed on this machine, and whether they run if not."""

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
    "; from scripts.host.sandbox import tell_what_is_missing; tell_what_is_missing()"
)
_PROBE_SECONDS = 20
# A machine may have no process to spare for a moment, so it is tried again after this.
_AGAIN_SECONDS = 5.0
_NO_PROBE = "a process that can seal itself"


def missing_measures() -> list[str]:
    """Name the measures of the seal that this machine lacks; a process tries each, once."""
    return missing_here() or _probe.read()


def scripts_may_run() -> bool:
    """Tell whether scripts run here: where they can be sealed, or ASYNCENGINE_UNSEALED_SCRIPTS."""
    return bool(settings.ASYNCENGINE_UNSEALED_SCRIPTS) or is_closed(missing_measures())


class _Probe:
    """What a process that tried every measure has told."""

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
    """Return what is missing, None where no process could be had to tell it."""
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
        logger.exception("whether scripts can be sealed here could not be tried")
        return None

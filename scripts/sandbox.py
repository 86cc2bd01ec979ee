"""Whether scripts can be sealed on this machine, and whether they run if not."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

from django.conf import settings

from scripts import wire
from scripts.host.seal import is_closed, missing_here

_PROBE = (
    "import sys; sys.path.append(sys.argv[1])"
    "; from scripts.host.seal import tell_what_is_missing; tell_what_is_missing()"
)
_PROBE_SECONDS = 20
_NO_PROBE = "a process that can seal itself"


def missing_measures() -> list[str]:
    """Name the measures of the seal that this machine lacks; a process tries each, once."""
    return missing_here() or list(_tried())


def scripts_may_run() -> bool:
    """Tell whether scripts run here: where they can be sealed, or ASYNCENGINE_UNSEALED_SCRIPTS."""
    return bool(settings.ASYNCENGINE_UNSEALED_SCRIPTS) or is_closed(missing_measures())


@cache
def _tried() -> tuple[str, ...]:
    where = str(Path(wire.__file__).parents[1])
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", _PROBE, where],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=True,
        )
        return tuple(json.loads(done.stdout))
    except (OSError, ValueError, subprocess.SubprocessError):
        return (_NO_PROBE,)

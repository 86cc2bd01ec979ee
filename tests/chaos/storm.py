"""A storm: runs are started in waves while processes are killed and stopped, until all is at rest.

What a storm leaves is checked by its test; here are the parts that each storm has.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.faults import Faults
from tests.chaos.server import Server
from tests.chaos.system import System, seconds_of_chaos
from tests.waiting import wait_for

# A storm goes on with a wave where no more messages than this are left.
LOW = 200
DOUBLED = """
    SELECT run_id, step_id, COUNT(*) FROM flows_steprun WHERE outcome = 'COMPLETED'
    GROUP BY run_id, step_id HAVING COUNT(*) > 1
"""


@dataclass(frozen=True)
class Storm:
    """`start` is code that starts a wave, `checked` returns a report and what is wrong in the end.

    `change` is code that changes something again and again; the runs begin after the first time.
    """

    configuration: dict[str, Any]
    start: str
    checked: Callable[[System], tuple[dict[str, Any], list[str]]]
    change: str = ""


def queue(name: str, size: int = 20_000) -> dict[str, Any]:
    """Return a queue of a document in which no number of kills uses up a message's deliveries."""
    backoff = {"initialSeconds": 0.05, "multiplier": 1.5, "maxSeconds": 1}
    return {"name": name, "size": size, "maxDeliveries": 1000, "backoff": backoff}


def one_flow(name: str, scripts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the document of a flow with a step and a queue for each script, named as it is."""
    names = [script["name"] for script in scripts]
    steps = [{"name": each, "script": each, "queue": each, "threads": 4} for each in names]
    return {
        "scripts": scripts,
        "queues": [queue(each) for each in names],
        "flows": [{"name": name, "steps": steps}],
    }


def wave(flow: str, count: int) -> str:
    """Return code that starts as many runs of the flow, numbered on from those it has."""
    return (
        "from flows import engine\n"
        "from flows.models import Run\n"
        "own = Run.objects.filter(parent=None)\n"
        f"first = own.filter(flow_version__flow_name={flow!r}).count()\n"
        f"engine.start_many({flow!r}, ({{'n': n}} for n in range(first, first + {count})))\n"
    )


def blow(storm: Storm, server: Server, directory: Path) -> dict[str, Any]:
    """Return what the storm reports, where nothing is wrong."""
    seed = os.environ.get("CHAOS_SEED") or secrets.token_hex(4)
    print(f"\nCHAOS_SEED={seed}", flush=True)
    system = System(server.url, directory)
    try:
        faults = blown(storm, system, server, seed)
        report, wrong = storm.checked(system)
    finally:
        system.end()
    report |= {"seed": seed, "database": server.name, "faults": dict(sorted(faults.items()))}
    report["lostLeases"] = system.output.read_text(errors="replace").count("lost its lease")
    print(json.dumps(report, indent=2), flush=True)
    assert wrong == []
    return report


def blown(storm: Storm, system: System, server: Server, seed: str) -> dict[str, int]:
    """Let the storm blow until all is at rest, and return what it has done."""
    system.begin(storm.configuration)
    if storm.change:
        system.manage("shell", "--no-imports", "-c", storm.change)
    faults = Faults(system, server, seed)
    starting, changing = run_code(system, storm.start), None
    began = time.monotonic()
    while time.monotonic() < began + seconds_of_chaos():
        faults.go_on()
        system.look_after()
        if starting.poll() is not None and messages_left(system) < LOW:
            starting = run_code(system, storm.start)
        if storm.change and (changing is None or changing.poll() is not None):
            changing = run_code(system, storm.change)
        time.sleep(0.1)
    system.heal()
    for each in filter(None, (starting, changing)):
        each.wait(120)
    wait_for(lambda: is_at_rest(system), 300, "rest after the storm")
    return faults.counts


def run_code(system: System, code: str) -> subprocess.Popen[bytes]:
    # Killed by no fault, but refused where the database is away: then it does nothing.
    return system.spawn([sys.executable, "manage.py", "shell", "--no-imports", "-c", code])


def messages_left(system: System) -> int:
    try:
        [(count,)] = system.rows("SELECT COUNT(*) FROM flows_message")
    except Exception:
        # The database is in trouble just now.
        return LOW
    return int(count)


def is_at_rest(system: System) -> bool:
    system.look_after()
    return system.rows(
        "SELECT (SELECT COUNT(*) FROM flows_message), (SELECT COUNT(*) FROM flows_consumer)"
    ) == [(0, 0)]

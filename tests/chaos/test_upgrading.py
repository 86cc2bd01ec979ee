"""Runs that are moved to new versions of their flow under kills run each of its steps once.

    CHAOS_SECONDS=120 CHAOS_SEED=7 pytest -m chaos tests/chaos/test_upgrading.py -s

While runs go on, the scripts of the flow are changed and a last step comes and goes, each time with
the choice that those that wait go on with the new version. The second queue is small, so outputs
wait for room, too.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import snapshot
from tests.chaos.checks import broken_counters
from tests.chaos.server import Server
from tests.chaos.storm import Storm, blow, one_flow, queue, wave
from tests.chaos.system import System

pytestmark = pytest.mark.chaos

WAVE = 300
NAMES = ["first", "second", "third"]
CODE = """
import time

def run(message, context):
    payload = message["payload"]
    time.sleep(0.01)
    if payload["n"] % 7 == 0 and context.attempt == 1:
        raise ValueError("the first time")
    payload.setdefault("trail", []).append(context.step)
    payload.setdefault("codes", []).append(0)
    return message
"""
CONFIGURATION = one_flow("moved", [{"name": each, "code": CODE} for each in NAMES])
CONFIGURATION["queues"][1]["size"] = 40
CONFIGURATION["queues"].append(queue("fourth"))
CHANGE = """
import re
from django.db import transaction
from flows.models import Flow, Queue, Step
from flows.tasks.upgrading import upgrade_waiting
with transaction.atomic():
    flow = Flow.objects.get(name="moved")
    for step in flow.steps.exclude(name="fourth").select_related("script"):
        code = step.script.code
        number = int(re.search(r"append\\((\\d+)\\)", code)[1]) + 1
        step.script.code = re.sub(r"append\\(\\d+\\)", f"append({number})", code)
        step.script.save()
    if number % 2:
        queue = Queue.objects.get(name="fourth")
        Step.objects.create(
            flow=flow, name="fourth", position=3, script=step.script, queue=queue, threads=2
        )
    else:
        flow.steps.filter(name="fourth").delete()
    upgrade_waiting(flow, user=None)
"""


def test_runs_that_are_moved_to_new_versions_run_each_step_once(server: Server, tmp_path: Path):
    report = blow(Storm(CONFIGURATION, wave("moved", WAVE), checked, CHANGE), server, tmp_path)

    assert report["runs"] >= WAVE
    assert report["moved"] > 0


def checked(system: System) -> tuple[dict[str, Any], list[str]]:
    with snapshot(system.database_url) as query:
        wrong = broken_counters(query)
        results = query("SELECT status, result FROM flows_run")
        doubled = query(
            "SELECT s.run_id, v.name FROM flows_steprun s JOIN flows_stepversion v ON v.id ="
            " s.step_id WHERE s.outcome = 'COMPLETED' GROUP BY 1, 2 HAVING COUNT(*) > 1"
        )
        upgrades = query("SELECT after FROM flows_auditentry WHERE verb = 'upgrade'")
    wrong += [f"not completed: {row}" for row in results if row[0] != "COMPLETED"]
    wrong += [f"done twice: {row}" for row in doubled]
    payloads = [json.loads(result)["payload"] for status, result in results if result]
    numbers = sorted(payload["n"] for payload in payloads)
    if numbers != list(range(len(results))):
        wrong.append(f"{len(results)} runs have the numbers {numbers}")
    wrong += [
        f"not each step once, in order: {payload}"
        for payload in payloads
        if payload["trail"] not in (NAMES, [*NAMES, "fourth"])
    ]
    told = [after if isinstance(after, dict) else json.loads(after) for (after,) in upgrades]
    return {
        "runs": len(results),
        "upgrades": len(told),
        "moved": sum(each["messages moved"] for each in told),
        "codes of a run": dict(Counter(len(set(payload["codes"])) for payload in payloads)),
    }, wrong

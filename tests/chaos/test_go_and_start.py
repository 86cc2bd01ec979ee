"""`context.go` and `context.start` under kills: what is left out, and what is started.

    CHAOS_SECONDS=120 CHAOS_SEED=7 pytest -m chaos tests/chaos/test_go_and_start.py -s

Parents go past a step and start children, two flows of children start each other, and their queues
are often full. In the end each parent has exactly the children that its result names.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.installation import snapshot
from tests.chaos.checks import broken_counters
from tests.chaos.server import Server
from tests.chaos.storm import DOUBLED, Storm, blow, queue, wave
from tests.chaos.system import System

pytestmark = pytest.mark.chaos

WAVE = 100
# One in seven fails after its starts; odd ones go past a step; ten share a key.
FIRST = """
def run(message, context):
    payload = message["payload"]
    n = payload["n"]
    payload["ids"] = [context.start("ping", {"left": k}) for k in range(n % 4)]
    payload["keyed"] = context.start("pong", {"left": 0, "key": n // 10}, key=f"{n // 10}")
    payload["trail"] = [context.step]
    if n % 7 == 0 and context.attempt == 1:
        raise ValueError("the first time")
    return context.go("last", message) if n % 2 else message
"""
TRAIL = """
def run(message, context):
    message["payload"]["trail"].append(context.step)
    return message
"""
CHILD = """
const { payload } = context.Data;
if (payload.left > 0) {
  payload.ids = [await context.start(OTHER, { left: payload.left - 1 })];
}
setData(context.Data);
"""
STEPS = {"first": "first", "between": "trail", "last": "trail"}
# Children are often more than this.
FEW = 8


def flow(name: str, steps: list[dict[str, Any]], *starts: str) -> dict[str, Any]:
    return {"name": name, "starts": list(starts), "steps": steps}


def step(name: str, script: str, *goes_to: str) -> dict[str, Any]:
    return {"name": name, "script": script, "queue": name, "threads": 4, "goesTo": list(goes_to)}


CONFIGURATION = {
    "scripts": [
        {"name": "first", "code": FIRST},
        {"name": "trail", "code": TRAIL},
        {"name": "ping", "language": "javascript", "code": CHILD.replace("OTHER", '"pong"')},
        {"name": "pong", "language": "javascript", "code": CHILD.replace("OTHER", '"ping"')},
    ],
    "queues": [queue(name, 500) for name in STEPS] + [queue("ping", FEW), queue("pong", FEW)],
    "flows": [
        flow(
            "parent",
            [step("first", "first", "last"), step("between", "trail"), step("last", "trail")],
            "ping",
            "pong",
        ),
        flow("ping", [step("ping", "ping")], "pong"),
        flow("pong", [step("pong", "pong")], "ping"),
    ],
}
RUNS = """
    SELECT CAST(r.correlation_id AS text), CAST(r.parent AS text), f.flow_name, r.status, r.result
    FROM flows_run r JOIN flows_flowversion f ON f.id = r.flow_version_id
"""


def test_each_parent_has_exactly_its_children(server: Server, tmp_path: Path):
    report = blow(Storm(CONFIGURATION, wave("parent", WAVE), checked), server, tmp_path)

    assert report["flows"]["parent"] >= WAVE


def checked(system: System) -> tuple[dict[str, Any], list[str]]:
    with snapshot(system.database_url) as query:
        wrong = broken_counters(query)
        wrong += [f"committed twice: {row}" for row in query(DOUBLED)]
        runs = [
            (plain(id), plain(parent), flow, status, json.loads(result or "{}").get("payload", {}))
            for id, parent, flow, status, result in query(RUNS)
        ]
        attempts = Counter(dict(query("SELECT outcome, COUNT(*) FROM flows_steprun GROUP BY 1")))
    wrong += [f"not completed: {run}" for run in runs if run[3] != "COMPLETED"]
    children: defaultdict[str, set[str]] = defaultdict(set)
    keyed: defaultdict[int, set[str]] = defaultdict(set)
    for id, parent, _, _, payload in runs:
        if "key" in payload:
            keyed[payload["key"]].add(id)
        elif parent:
            children[parent].add(id)
    for id, parent, _, _, payload in runs:
        wrong += wrong_of(id, parent, payload, children[id], keyed)
    report = {
        "flows": dict(Counter(flow for _, _, flow, _, _ in runs)),
        "keys": len(keyed),
        "attempts": dict(attempts),
    }
    return report, wrong


def wrong_of(
    id: str,
    parent: str,
    payload: dict[str, Any],
    children: set[str],
    keyed: dict[int, set[str]],
) -> list[str]:
    named = {plain(each) for each in payload.get("ids", [])}
    wrong = [] if named == children else [f"{id} names {named} and has {children}"]
    if not parent:
        n = payload["n"]
        trail = ["first", "last"] if n % 2 else ["first", "between", "last"]
        if payload["trail"] != trail:
            wrong.append(f"{id} with {n} has gone {payload['trail']}")
        if keyed[n // 10] != {plain(payload["keyed"])}:
            wrong.append(f"the key {n // 10} has started {keyed[n // 10]}: {payload}")
    return wrong


def plain(id: str | None) -> str:
    return (id or "").replace("-", "")

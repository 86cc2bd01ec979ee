"""What scripts do by their context, under kills: state, waits, cached values, progress, early ends.

    CHAOS_SECONDS=120 CHAOS_SEED=7 pytest -m chaos tests/chaos/test_context.py -s

Runs are started in waves while processes are killed and stopped. In the end the state of the flow
has to be what the runs tell, to the last one: each step that was stored has counted once.
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
from tests.chaos.storm import DOUBLED, Storm, blow, one_flow, wave
from tests.chaos.system import System

pytestmark = pytest.mark.chaos

WAVE = 400
# A run in seven fails at first, one in five waits twice, one in eleven asks for a retry, one in
# three ends at the first step.
PYTHON = """
import time

def run(message, context):
    n, state = message["payload"]["n"], context.state
    context.progress(1, 2, "begun")
    made = context.cached("token", 2, lambda: {"token": "t"})
    if n % 7 == 0 and context.attempt == 1:
        state.increment("lost")
        state.set("turns", -1)
        raise ValueError("the first time")
    if n % 5 == 0 and context.waits < 2:
        state.increment("waits")
        raise Wait(after=0.05, reason="not yet", state={"waits": context.waits})
    if n % 11 == 0 and state.get(f"asked {n}") is None:
        state.set(f"asked {n}", 1, expires=3600)
        state.increment("asked")
        raise Retry(after=0.05)
    state.set("turns", state.get("turns", 0) + 1)
    state.increment("count")
    state.increment("sum", by=n)
    state.set(f"last {n % 10}", n)
    state.delete(f"asked {n}")
    time.sleep(0.01)
    context.progress(2, 2, "done")
    message["payload"]["token"] = made["token"]
    message["payload"]["waits"] = context.wait_state and context.wait_state["waits"]
    if n % 3 == 0:
        context.finish(message)
    return message
"""
JAVASCRIPT = """
const { n } = context.Data.payload;
const { state } = context;
context.progress(1, 1);
context.Data.payload.cached = (await context.cached("token", 2, () => ({ token: "j" }))).token;
await state.set("js turns", await state.get("js turns", 0) + 1);
await state.increment("js count");
await state.increment("js sum", n);
if (n % 4 === 0) context.finish(context.Data);
else setData(context.Data);
"""
LAST = """
def run(message, context):
    context.state.increment("ended")
    return message
"""
CONFIGURATION = one_flow(
    "context",
    [
        {"name": "use", "code": PYTHON},
        {"name": "use-js", "language": "javascript", "code": JAVASCRIPT},
        {"name": "end", "code": LAST},
    ],
)


def test_what_scripts_do_by_their_context_is_done_once(server: Server, tmp_path: Path):
    report = blow(Storm(CONFIGURATION, wave("context", WAVE), checked), server, tmp_path)

    assert report["runs"] >= WAVE


def checked(system: System) -> tuple[dict[str, Any], list[str]]:
    with snapshot(system.database_url) as query:
        wrong = broken_counters(query)
        wrong += [f"committed twice: {row}" for row in query(DOUBLED)]
        results = query("SELECT status, result FROM flows_run")
        rows = query("SELECT key, value, expires_at FROM flows_flowstate")
        totals = query("SELECT keys, bytes FROM flows_flowstatetotals")
        attempts = Counter(dict(query("SELECT outcome, COUNT(*) FROM flows_steprun GROUP BY 1")))
    wrong += [f"not completed: {row}" for row in results if row[0] != "COMPLETED"]
    payloads = [json.loads(result)["payload"] for status, result in results if result]
    state = {key: json.loads(value) for key, value, _ in rows}
    expected = expected_state([payload["n"] for payload in payloads])
    last = {key: state.pop(key, None) for key in [*state] if key.startswith("last ")}
    wrong += [f"{key} is {n}" for key, n in last.items() if f"last {n % 10}" != key]
    if state != expected:
        wrong.append(f"the state is {state}, expected {expected}")
    size = sum(len(key.encode()) + len(value.encode()) for key, value, _ in rows)
    if [tuple(row) for row in totals] != [(len(rows), size)]:
        wrong.append(f"totals {totals} for {len(rows)} keys with {size} bytes")
    for payload in payloads:
        waits = 1 if payload["n"] % 5 == 0 else None
        if (payload["token"], payload["waits"]) != ("t", waits):
            wrong.append(f"{payload}")
    return {"runs": len(results), "attempts": dict(attempts), "state": state}, wrong


def expected_state(numbers: list[int]) -> dict[str, int]:
    """Return the state that runs with these numbers leave, but for which came last."""
    later = [n for n in numbers if n % 3]
    return {
        "turns": len(numbers),
        "count": len(numbers),
        "sum": sum(numbers),
        "waits": 2 * sum(n % 5 == 0 for n in numbers),
        "asked": sum(n % 11 == 0 for n in numbers),
        "js turns": len(later),
        "js count": len(later),
        "js sum": sum(later),
        "ended": sum(n % 4 != 0 for n in later),
    }

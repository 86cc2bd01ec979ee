"""Tables and values that are replaced under kills: each message sees one version of each.

    CHAOS_SECONDS=120 CHAOS_SEED=7 pytest -m chaos tests/chaos/test_tables_and_values.py -s

While runs go on, a table is replaced again and again, and a value is changed. Each row of a version
of the table has its number. In the end each output names one version that there was.
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

WAVE = 300
ROWS = 5000
PYTHON = """
import time

def run(message, context):
    payload, table = message["payload"], context.table("rates")
    n = payload["n"]
    seen = [table[f"k{n * k % ROWS}"]["version"] for k in range(20)]
    epochs = [context.config["epoch"]]
    time.sleep(0.02)
    if n % 7 == 0 and context.attempt == 1:
        raise ValueError("the first time")
    again = context.table("rates")
    seen += [again[f"k{n * k % ROWS}"]["version"] for k in range(20)]
    epochs.append(context.config["epoch"])
    payload["seen"], payload["epochs"] = seen, epochs
    return message
"""
JAVASCRIPT = """
const { payload } = context.Data;
const seen = [];
for (let k = 0; k < 40; k++) {
  seen.push(context.table("rates").get(`k${payload.n * k % ROWS}`).version);
}
payload.seenJs = seen;
payload.epochsJs = [context.config.epoch, context.config.epoch];
setData(context.Data);
"""
CONFIGURATION = one_flow(
    "tables",
    [
        {"name": "look-up", "code": PYTHON.replace("ROWS", str(ROWS)), "tables": ["rates"]},
        {
            "name": "look-up-js",
            "language": "javascript",
            "code": JAVASCRIPT.replace("ROWS", str(ROWS)),
            "tables": ["rates"],
        },
    ],
)
CHANGE = f"""
from scripts.models import ConfigurationValue, ReferenceTable
from scripts.services.table_storing import store
table = ReferenceTable.objects.filter(name="rates").first() or ReferenceTable(name="rates")
latest = table.latest() if table.pk else None
number = latest.number + 1 if latest else 1
ConfigurationValue.objects.update_or_create(name="epoch", defaults={{"value": str(number)}})
rows = "".join(f"k{{n}},{{number}}\\n" for n in range({ROWS}))
store(table, [f"key,version\\n{{rows}}".encode()], "csv")
"""


def test_each_message_sees_one_version_of_a_table_and_one_of_the_values(
    server: Server, tmp_path: Path
):
    report = blow(Storm(CONFIGURATION, wave("tables", WAVE), checked, CHANGE), server, tmp_path)

    assert report["runs"] >= WAVE
    assert len(report["seen"]) > 1


def checked(system: System) -> tuple[dict[str, Any], list[str]]:
    with snapshot(system.database_url) as query:
        wrong = broken_counters(query)
        wrong += [f"committed twice: {row}" for row in query(DOUBLED)]
        results = query("SELECT status, result FROM flows_run")
        attempts = Counter(dict(query("SELECT outcome, COUNT(*) FROM flows_steprun GROUP BY 1")))
        [(last,)] = query("SELECT MAX(number) FROM scripts_tableversion")
        [(epoch,)] = query("SELECT value FROM scripts_configurationvalue")
    wrong += [f"not completed: {row}" for row in results if row[0] != "COMPLETED"]
    payloads = [json.loads(result)["payload"] for status, result in results if result]
    numbers = sorted(payload["n"] for payload in payloads)
    if numbers != list(range(len(results))):
        wrong.append(f"{len(results)} runs have the numbers {numbers}")
    for payload in payloads:
        wrong += wrong_of(payload, last, int(epoch))
    seen = Counter(payload["seen"][0] for payload in payloads)
    return {
        "runs": len(results),
        "attempts": dict(attempts),
        "versions": last,
        "seen": dict(sorted(seen.items(), key=lambda each: int(each[0]))),
    }, wrong


def wrong_of(payload: dict[str, Any], last: int, epoch: int) -> list[str]:
    wrong = []
    for seen, epochs in (("seen", "epochs"), ("seenJs", "epochsJs")):
        versions, values = set(payload[seen]), set(payload[epochs])
        if len(versions) != 1 or len(values) != 1 or len(payload[seen]) != 40:
            wrong.append(f"a mix of versions: {payload}")
        elif not 1 <= int(*versions) <= last or not 1 <= int(*values) <= epoch:
            wrong.append(f"a version that there was not: {payload}")
    return wrong

"""What must hold in the tables of an installation, seen from outside: a list of what does not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tests.acceptance.installation import Query

if TYPE_CHECKING:
    from tests.chaos.interventions import Ends

QUEUES = """
    SELECT q.name, q.size, s.depth, s.reserved, t.threads,
        (SELECT COUNT(*) FROM flows_message m JOIN flows_stepversion v ON v.id = m.step_id
         WHERE v.queue_id = q.id AND NOT (m.delayed AND m.consumer_id IS NULL)),
        (SELECT COUNT(*) FROM flows_message m JOIN flows_stepversion v ON v.id = m.step_id
         JOIN flows_stepversion n
            ON n.flow_version_id = v.flow_version_id AND n.position > v.position
            AND (n.position = v.position + 1 OR CAST(v.goes_to AS text)
                <> REPLACE(CAST(v.goes_to AS text), '"' || n.name || '"', ''))
         WHERE n.queue_id = q.id AND m.consumer_id IS NOT NULL),
        (SELECT COALESCE(SUM(c.threads), 0) FROM flows_consumer c WHERE c.queue_id = q.id)
    FROM flows_queue q JOIN flows_queuestate s ON s.queue_id = q.id
    JOIN flows_step t ON t.queue_id = q.id
"""
# A worker may still hold the message of a run that was cancelled.
FLOW_TOTALS = """
    SELECT t.flow_name, t.accepted, t.completed, t.failed, t.cancelled,
        (SELECT COUNT(DISTINCT m.run_id) FROM flows_message m
         JOIN flows_run r ON r.correlation_id = m.run_id
         JOIN flows_flowversion f ON f.id = r.flow_version_id
         WHERE f.flow_name = t.flow_name AND r.status <> 'CANCELLED')
    FROM flows_flowtotals t
"""
RUNS_BY_STATUS = """
    SELECT f.flow_name, r.status, COUNT(*) FROM flows_run r
    JOIN flows_flowversion f ON f.id = r.flow_version_id GROUP BY f.flow_name, r.status
"""
HELD_BY_NO_CONSUMER = """
    SELECT COUNT(*) FROM flows_message m WHERE m.consumer_id IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM flows_consumer c WHERE c.id = m.consumer_id)
"""
DOUBLED_COMMITS = """
    SELECT run_id, step_id, branch, COUNT(*) FROM flows_steprun WHERE outcome = 'COMPLETED'
    GROUP BY run_id, step_id, branch HAVING COUNT(*) > 1
"""
COMPLETED_WITHOUT_COMMIT = """
    SELECT r.correlation_id, v.name FROM flows_run r
    JOIN flows_stepversion v ON v.flow_version_id = r.flow_version_id
    WHERE r.status = 'COMPLETED' AND NOT EXISTS (SELECT 1 FROM flows_steprun s
        WHERE s.run_id = r.correlation_id AND s.step_id = v.id AND s.outcome = 'COMPLETED')
"""
ENDED_TWICE = """
    SELECT r.correlation_id FROM flows_run r JOIN flows_message m ON m.run_id = r.correlation_id
    WHERE r.status NOT IN ('QUEUED', 'RUNNING')
"""
UNTRACED = """
    SELECT s.run_id FROM flows_steprun s
    LEFT JOIN flows_run r ON r.correlation_id = s.run_id
    LEFT JOIN flows_stepversion v ON v.id = s.step_id
    WHERE r.correlation_id IS NULL OR v.flow_version_id <> r.flow_version_id
"""
RUNS = """
    SELECT r.correlation_id, f.flow_name, r.status, r.result, r.error FROM flows_run r
    JOIN flows_flowversion f ON f.id = r.flow_version_id
"""
FAILED_DELIVERIES = """
    SELECT s.run_id, COUNT(*) FROM flows_steprun s JOIN flows_run r ON r.correlation_id = s.run_id
    WHERE r.status = 'COMPLETED' AND s.outcome = 'FAILED' GROUP BY s.run_id
"""
DEAD_LETTERS = "SELECT run_id, body FROM flows_deadletter"


def broken_counters(query: Query) -> list[str]:
    """Conservation and bounds (I1, I6), at any time: counters and totals agree with the rows."""
    broken = []
    for name, size, depth, reserved, threads, messages, coming, granted in query(QUEUES):
        if (depth, reserved) != (messages, coming):
            broken.append(
                f"queue {name}: depth {depth} for {messages} messages,"
                f" {reserved} reserved for {coming}"
            )
        if depth + reserved > size:
            broken.append(f"queue {name}: {depth} + {reserved} in a size of {size}")
        if granted > threads:
            broken.append(f"queue {name}: {granted} of {threads} threads granted")
    for flow, accepted, completed, failed, cancelled, under_way in query(FLOW_TOTALS):
        if accepted != completed + failed + cancelled + under_way:
            broken.append(
                f"flow {flow}: accepted {accepted}, completed {completed}, failed {failed},"
                f" cancelled {cancelled}, under way {under_way}"
            )
    for (orphans,) in query(HELD_BY_NO_CONSUMER):
        if orphans:
            broken.append(f"{orphans} messages held by no consumer")
    return broken


@dataclass
class Findings:
    """What an installation that has come to rest has to show for the starts it accepted."""

    accepted: int = 0
    losses: list[str] = field(default_factory=list)
    doubled_commits: list[str] = field(default_factory=list)
    doubled_starts: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    extra_executions: int = 0
    failed_attempts: int = 0

    def nothing(self) -> bool:
        return not (self.losses or self.doubled_commits or self.doubled_starts or self.wrong)


@dataclass(frozen=True)
class Accepted:
    """A start as the history outside the system has it: the caller's key, what was answered."""

    key: str
    correlation_id: str
    flow: str
    fails: bool


def faults_in(
    query: Query,
    history: list[Accepted],
    steps: dict[str, list[str]],
    ends: Mapping[str, Ends] | None = None,
) -> Findings:
    """Compare the tables with the history (I1, I2, I3, I5, I8).

    `steps` names those of a flow; `ends` tells how runs may end because of an operator.
    """
    findings = Findings(accepted=len({start.key for start in history}))
    findings.wrong += broken_counters(query)
    runs = {str(UUID(str(row[0]))): row[1:] for row in query(RUNS)}
    failed = {str(UUID(str(run))): n for run, n in query(FAILED_DELIVERIES)}
    _check_starts(findings, history, runs, ends or {})
    _check_runs(findings, runs, failed, steps)
    findings.doubled_commits += [str(row) for row in query(DOUBLED_COMMITS)]
    findings.wrong += [f"no commit of a step: {row}" for row in query(COMPLETED_WITHOUT_COMMIT)]
    findings.wrong += [f"ended and under way: {row}" for row in query(ENDED_TWICE)]
    findings.wrong += [f"a step run of another run: {row}" for row in query(UNTRACED)]
    for run, body in query(DEAD_LETTERS):
        if json.loads(body)["correlationId"] != str(UUID(str(run))):
            findings.wrong.append(f"the dead letter of {run} has another correlation id")
    counted_by_flow = Counter(
        {
            (row[0], status): n
            for row in query(FLOW_TOTALS)
            for status, n in zip(ENDS, row[2:5], strict=True)
        }
    )
    counted = Counter({(flow, status): n for flow, status, n in query(RUNS_BY_STATUS)})
    if +counted_by_flow != +Counter({key: n for key, n in counted.items() if key[1] in ENDS}):
        findings.wrong.append(f"counted_by_flow {counted_by_flow}, counted {counted}")
    return findings


ENDS = ("COMPLETED", "FAILED", "CANCELLED")


def _check_starts(
    findings: Findings,
    history: list[Accepted],
    runs: dict[str, Any],
    ends: Mapping[str, Ends],
) -> None:
    by_key: dict[str, str] = {}
    for start in history:
        if by_key.setdefault(start.key, start.correlation_id) != start.correlation_id:
            findings.doubled_starts.append(f"{start.key} was answered with two runs")
        _, status, _, error = runs.get(start.correlation_id, (None, "missing", None, None))
        if status not in _allowed(start, ends.get(start.correlation_id)):
            findings.losses.append(f"{start.flow} {start.correlation_id}: {status} {error}")
    unknown = runs.keys() - by_key.values()
    findings.doubled_starts += [f"no caller was told of {runs[run][0]} {run}" for run in unknown]


def _allowed(start: Accepted, ends: Ends | None) -> set[str]:
    own = "FAILED" if start.fails else "COMPLETED"
    if ends is None:
        return {own}
    return {ends.certain} if ends.certain else {own} | ends.possible


def _check_runs(
    findings: Findings, runs: dict[str, Any], failed: dict[str, int], steps: dict[str, list[str]]
) -> None:
    """Every result tells the steps it went through, and in which attempt of each."""
    for run, (flow, status, result, _) in runs.items():
        if status != "COMPLETED":
            continue
        envelope = json.loads(result)
        trail = envelope["payload"]["trail"]
        if envelope["correlationId"] != run or [name for name, _ in trail] != steps[flow]:
            findings.wrong.append(f"{flow} {run}: result {result}")
        known = failed.get(run, 0)
        findings.failed_attempts += known
        findings.extra_executions += sum(attempt - 1 for _, attempt in trail) - known
